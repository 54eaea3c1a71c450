"""The end of a job: its tables, its report, and what a person should know."""

from __future__ import annotations

from unilabel.harmonize.job import HarmonizeJob
from unilabel.harmonize.report import write_report
from unilabel.harmonize.summary import total_of


def finish(job: HarmonizeJob, workers: int) -> list[str]:
    """Write the tables and the report of a job whose photos are all there.

    Returns:
        what became of the pixels, and what to look at first; a line each.

    Raises:
        UniLabelError: photos have no result yet, or a file cannot be written.
    """
    job.require_all()
    totals = total_of(job.records(), job.labeller.parts, job.labeller.target)
    result = totals.to_dict()
    report = write_report(job, totals, workers)
    job.finish(result)
    lines = []
    for entry in result["datasets"]:
        shares = ", ".join(
            f"{kind.replace('_', ' ')} {100 * share:.1f} %"
            for kind, share in entry["shares"].items()
            if share
        )
        lines.append(f"{entry['name']}: {shares}")
    lines += [f"ignored, since the target has no class for it: {t}" for t in totals.lost()]
    if report.dropped:
        lines.append(f"report.html: {report.dropped} crops were left out, to keep it small")
    if report.bare:
        lines.append(f"report.html: {report.bare} links carry no region of some size")
    lines.append(
        f"report.html: {report.pairs} pairs of classes, {report.doubts} things to look at first"
    )
    return lines
