"""An accelerator that is none: it computes real values, and refuses to mix them with the CPU's.

PyTorch has no such device on a machine without one. Tensors on the device ``meta`` usually have no
values; here they carry them along, so that a whole training can be done "over there".
"""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

FAR = torch.device("meta")
_BRIDGES = {"aten::_to_copy", "aten::copy_"}


class FarTensor(Tensor):
    """A tensor on the accelerator; ``near`` holds its values."""

    @staticmethod
    def __new__(cls, near):
        return Tensor._make_wrapper_subclass(
            cls, near.shape, strides=near.stride(), dtype=near.dtype, device=FAR
        )

    def __init__(self, near):
        self.near = near

    @classmethod
    def __torch_dispatch__(cls, operator, types, args=(), kwargs=None):
        return _carried_out(operator, args, kwargs or {})


class FarDevice(TorchDispatchMode):
    """Makes the accelerator exist inside the block."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        return _carried_out(operator, args, kwargs or {})


def _carried_out(operator, args, kwargs):
    leaves, _ = tree_flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    is_far = any(isinstance(leaf, FarTensor) for leaf in tensors)
    name = operator._schema.name
    if is_far and name not in _BRIDGES:
        near = [leaf for leaf in tensors if not isinstance(leaf, FarTensor) and leaf.ndim]
        assert not near, f"{name} mixes the accelerator with the CPU"
    wanted = kwargs.get("device") or (FAR if is_far else torch.device("cpu"))
    inner = {**kwargs, "device": torch.device("cpu")} if kwargs.get("device") else kwargs
    result = operator(*tree_map(_near, args), **tree_map(_near, inner))
    if operator._schema.is_mutable:
        return args[0] if operator._schema.returns else None
    if wanted.type != FAR.type:
        return result
    return tree_map(lambda item: FarTensor(item) if isinstance(item, Tensor) else item, result)


def _near(item):
    return item.near if isinstance(item, FarTensor) else item
