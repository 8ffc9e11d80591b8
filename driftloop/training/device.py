"""Where to compute, and in which number type."""

import torch

from driftloop.runtime import available_threads


def pick_device(gpus: str) -> torch.device:
    """The device for a step that was given `gpus`, the number of GPUs as KFP passes it on ("0", "1", ...).

    A GPU that is asked for and not visible is said in the log, and the CPU is used. On the CPU, PyTorch gets as many threads as
    the process may run on.

    Raises:
        ValueError: `gpus` is not a number.
    """
    if not gpus.strip().isdecimal():
        raise ValueError(f"gpus: {gpus!r} is not a number of GPUs")
    if int(gpus) > 0:
        if torch.cuda.is_available():
            device = torch.device("cuda", torch.cuda.current_device())
            print(f"training on {torch.cuda.get_device_name(device)}", flush=True)
            return device
        print(f"gpus={gpus}, but no GPU is visible here: training on the CPU", flush=True)
    torch.set_num_threads(available_threads())
    return torch.device("cpu")


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """The number type that is faster than float32 on this device, or None where there is none.

    bfloat16 needs no loss scaling and is taken where the hardware multiplies it; older GPUs get float16. A CPU without
    bfloat16 instructions would emulate them, slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    capabilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else None
