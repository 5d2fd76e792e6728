"""Answering a lesson from its data alone: what is wrong, and what a control can show."""

from pruning_core.lessons.lesson import Choice, Number, Numbers, Order


def wrong(control, truth):
    """A value that is not the truth, as far from it as the control allows."""
    match control:
        case Choice(options):
            return next(option for option in options if option != truth)
        case Order():
            return list(reversed(truth))
        case Numbers(names=names, low=low, high=high):
            far = low if sum(truth) / len(truth) > (low + high) / 2 else high
            return [far] * len(names)
    return control.low if truth - control.low > control.high - truth else control.high


def nearest(control, value):
    """The value that the control can show that is nearest to ``value``."""
    if isinstance(control, Number):
        return round(control.low + control.step * round((value - control.low) / control.step), 9)
    if isinstance(control, Numbers):
        steps = [round((one - control.low) / control.step) for one in value]
        return [round(control.low + control.step * one, 9) for one in steps]
    return value
