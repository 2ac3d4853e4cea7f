"""Training data where the network is: on the device as a whole where it fits, else in pinned memory."""

from __future__ import annotations

import torch
from torch import Tensor

SHARE = 0.5  # of the card's free memory that one array of data may take


def free_on_card(device: str) -> int:
    """Return the bytes of a card that nobody uses: free, or kept by torch from arrays that are gone."""
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def place(values: Tensor, device: str, share: float = SHARE) -> Tensor:
    """Return an array on the device where it takes at most ``share`` of the free memory, else pinned.

    Parameters
    ----------
    values : (n, ...) Tensor
    device : str
    share : float
    """
    if torch.device(device).type != "cuda":
        return values
    if values.nbytes <= share * free_on_card(device):
        return values.to(device)
    return values.pin_memory()


def pick(values: Tensor, rows: Tensor, device: str) -> Tensor:
    """Return some rows of a placed array on the device as float32; copies in the background where they must travel.

    Parameters
    ----------
    values : (n, ...) Tensor
        From :func:`place`, or any other.
    rows : (B,) int64 Tensor
        On the processor.
    device : str
    """
    if values.is_cuda:
        return values[rows.to(values.device, non_blocking=True)].float()
    chosen = values[rows]
    if torch.device(device).type == "cuda":
        return chosen.pin_memory().to(device, non_blocking=True).float()
    return chosen.to(device).float()
