"""How grouped convolutions shrink."""


def leaves_by_groups(groups: int, channels: int) -> bool:
    """Return whether whole groups of a convolution leave, or else one channel of every group.

    The choice that makes more, and so finer, units: ResNeXt loses groups, ShuffleNet channels.

    Args:
        groups: Number of groups.
        channels: Input channels of one group.
    """
    return groups >= channels
