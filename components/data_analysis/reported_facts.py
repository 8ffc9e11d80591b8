"""What the later steps, the summary and the model cards are told about the data."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.data_analysis.analysis import Analysis

_LISTED = 100


def collect_facts(analysis: "Analysis", source_hash: str, seconds: float) -> dict[str, Any]:
    """The facts of this step as JSON takes them; of broken files at most a hundred are listed, all are counted."""
    description, audited, findings, loader = analysis.description, analysis.audited, analysis.audited.findings, analysis.loader
    return {
        "source": description.source,
        "source_hash": source_hash,
        "manifest_hash": description.manifest_hash,
        "classes": description.classes,
        "counts": description.counts,
        "class_counts": analysis.counts,
        "image_size": description.image_size,
        "channels": description.channels,
        "mean": description.mean,
        "std": description.std,
        "statistics": list(analysis.statistics.names),
        "groups": int(audited.frame["group"].nunique()),
        "broken_count": len(audited.broken),
        "broken": [{"path": path, "reason": reason} for path, reason in audited.broken[:_LISTED]],
        "conflicting_labels": findings.conflicting,
        "duplicates_within": findings.duplicates_within,
        "duplicates_across": findings.duplicates_across,
        "near_duplicates": findings.near_duplicate_images,
        "near_duplicate_clusters": findings.near_duplicate_clusters,
        "leaking_groups": findings.leaking_groups,
        "leaking_images": findings.leaking_images,
        "merged_val": findings.merged_val,
        "loader": {
            "images_per_second": loader.packed.images_per_second,
            "files_images_per_second": loader.files.images_per_second,
            "speedup": loader.speedup,
            "images": loader.images,
        },
        "notes": audited.notes,
        "seconds": round(seconds, 2),
    }
