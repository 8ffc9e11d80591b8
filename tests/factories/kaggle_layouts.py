"""Folders laid out as two datasets of Kaggle are once unpacked, with small images of noise."""

from pathlib import Path

from tests.factories.image_folders import write_images


def write_chest_xray(root: Path) -> Path:
    """`paultimothymooney/chest-xray-pneumonia`: a copy of everything inside itself, macOS's litter, a val split of 16 images, and mixed
    modes: X-rays of pneumonia are partly stored in colour."""
    for place in (root / "chest_xray", root / "chest_xray" / "chest_xray"):
        for number, (split, count) in enumerate({"train": 20, "val": 8, "test": 12}.items()):
            write_images(place / split / "NORMAL", count, seed=number, suffix=".jpeg", name=f"NORMAL2-IM-{number}")
            for seed, kind in enumerate(("bacteria", "virus")):
                folder = place / split / "PNEUMONIA"
                mode = "RGB" if kind == "virus" else "L"
                write_images(folder, count // 2, seed=10 * seed + number, suffix=".jpeg", name=f"person{number}_{kind}_", mode=mode)
            (place / split / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    for path in sorted((root / "chest_xray" / "train").rglob("*.jpeg")):
        litter = root / "chest_xray" / "__MACOSX" / path.relative_to(root).with_name(f"._{path.name}")
        litter.parent.mkdir(parents=True, exist_ok=True)
        litter.write_bytes(b"\0\5\x16\7")
    return root


def write_solar_panels(root: Path) -> Path:
    """Panels as such datasets often come: class folders with capitals and spaces inside a wrapping folder, files of several formats. That
    `tunguz/solar-panel-classification` does is assumed: it was not at hand."""
    for seed, (label, suffix) in enumerate({"Bird Drop": ".jpg", "Clean": ".JPG", "Dusty": ".png", "Snow-Covered": ".jpeg"}.items()):
        write_images(root / "Solar_Panels" / label, 12, seed=seed, suffix=suffix, name=f"{label} ", mode="RGB")
    (root / "Solar_Panels" / "desktop.ini").write_text("[.ShellClassInfo]\n")
    return root
