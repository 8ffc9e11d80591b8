"""Where to compute, and in which number type."""

import torch
from torch import Tensor

from driftloop.contracts import TIMM
from driftloop.errors import InputError
from driftloop.inference.provider import cuda_device_visible
from driftloop.runtime import available_threads
from driftloop.training import followers


def pick_device(gpus: str) -> torch.device:
    """The device for a step that was given `gpus`, the number of GPUs as KFP passes it on ("0", "1", ...).

    One GPU is what a pipeline asks for unless it is told otherwise: on a machine without any, that is said in the log and the CPU is used.
    Of several, this process uses the first and starts a process for each of the others, which take part in its trainings from now on.
    On the CPU, PyTorch gets as many threads as the process may run on.

    Raises:
        ValueError: `gpus` is not a number.
        InputError: fewer GPUs are there than were asked for, or one that PyTorch cannot use.
    """
    if not gpus.strip().isdecimal():
        raise ValueError(f"gpus: {gpus!r} is not a number of GPUs")
    if int(gpus) > 0:
        if not torch.cuda.is_available() and cuda_device_visible():
            raise InputError(
                f"gpus={gpus}: there is an NVIDIA GPU here, but PyTorch {torch.__version__} cannot use it (its driver is too old, or this "
                "PyTorch was built without CUDA); mend that, or set gpus=0 to train on the CPU"
            )
        if torch.cuda.is_available():
            if int(gpus) > torch.cuda.device_count():
                raise InputError(f"gpus={gpus}: {torch.cuda.device_count()} to be seen here; ask for as many at most")
            followers.start(int(gpus), "cuda")
            device = torch.device("cuda", torch.cuda.current_device())
            several = f"{gpus} x " if int(gpus) > 1 else ""
            print(f"training on {several}{torch.cuda.get_device_name(device)}", flush=True)
            return device
        print(f"gpus={gpus}, but no GPU is visible here: training on the CPU", flush=True)
    followers.stop()
    torch.set_num_threads(available_threads())
    return torch.device("cpu")


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of this process's memory on `device`. A GPU gets it in the order of its work, while this process goes on.

    Only page-locked memory can be copied so. A plain `to` would wait, each time, until all that the GPU was given is done.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def mixed_precision(device: torch.device, architecture: str) -> torch.dtype | None:
    """The number type that is faster than float32 for this network on this device, or None where there is none.

    bfloat16 needs no loss scaling and is taken where the hardware multiplies it; older GPUs get float16. A CPU without
    bfloat16 instructions would emulate them, slower than float32; and with them the convolutions by channel of most of timm's networks
    are slower all the same (EfficientNet-Lite0 at 224 pixels: 4.7 images a second and core, 7.4 in float32).
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if architecture.startswith(TIMM):
        return None
    capabilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else None
