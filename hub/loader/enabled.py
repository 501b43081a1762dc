"""The plugins that a configuration switches on: found, their manifests read, put in the order of their requirements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hub.loader.discovery import Installed, Source, in_folder, in_packages, installed, misnamed
from hub.loader.requirements import RequirementCycleError, start_order
from hub.manifest import Manifest
from hub.settings.document import Document
from hub.settings.model import PluginSettings, Settings
from hub.settings.problem import ConfigCode, Fault, Problem, did_you_mean
from hub.settings.report import Report
from hub.settings.verdict import Verdict, judge

_MANIFEST_CODES: Final = {
    ConfigCode.UNKNOWN_SETTING,
    ConfigCode.WRONG_VALUE,
    ConfigCode.MISSING_SETTING,
    ConfigCode.UNREADABLE_FILE,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin whose manifest could be read."""

    source: Source
    manifest: Manifest
    verdict: Verdict[Manifest]


def enabled_plugins(
    settings: Settings, operator: Verdict[Settings], folder: Path, report: Report
) -> list[Candidate]:
    """The plugins that are on, in their starting order; those that cannot be used are reported and left out."""
    wanted = {name: given for name, given in settings.plugins.items() if given.enabled}
    known = installed() if any(given.use is None for given in wanted.values()) else {}
    found: dict[str, Candidate] = {}
    for name, given in wanted.items():
        source = _locate(name, given, known, folder)
        if isinstance(source, Fault):
            loc = ("plugins", name, "use") if given.use is not None else ("plugins", name)
            report.add(operator, loc, source, at_key=given.use is None)
            continue
        candidate = read_manifest(source, report)
        if candidate is not None:
            found[name] = candidate
    _check_requirements(found, settings.plugins, report)
    return _ordered(found, report)


def read_manifest(source: Source, report: Report) -> Candidate | None:
    """Reads a plugin's own file; None when nothing of use is in it. Reports what is wrong with it."""
    verdict = judge(Manifest, Document.read(source.manifest), folder=source.folder)
    report.include(_as_manifest_problem(problem) for problem in verdict.problems)
    if verdict.value is None or not verdict.document.complete:
        return None
    if verdict.value.name != source.name:
        message = (
            f"the manifest calls the plugin `{verdict.value.name}`, its folder or entry point `{source.name}`"
        )
        report.add(verdict, ("name",), Fault(ConfigCode.WRONG_MANIFEST, message, "Call both alike."))
    return Candidate(source, verdict.value, verdict)


def _locate(name: str, given: PluginSettings, known: Installed, folder: Path) -> Source | Fault:
    fault = misnamed(name)
    if fault is not None:
        return fault
    return in_folder(name, given.use, folder) if given.use is not None else in_packages(name, known, folder)


def _as_manifest_problem(problem: Problem) -> Problem:
    return replace(problem, code=ConfigCode.WRONG_MANIFEST) if problem.code in _MANIFEST_CODES else problem


def _check_requirements(
    found: Mapping[str, Candidate], settings: Mapping[str, PluginSettings], report: Report
) -> None:
    for name, candidate in found.items():
        for number, needed in enumerate(candidate.manifest.requires):
            if needed in found:
                continue
            if needed in settings and settings[needed].enabled:
                continue  # It is on and could not be used, which is reported.
            state = "switched off" if needed in settings else "not switched on"
            message = f"plugin {name} requires `{needed}`, which is {state}"
            remedy = f"Add `{needed}: {{}}` under plugins, or switch {name} off."
            fault = Fault(ConfigCode.MISSING_REQUIREMENT, message, f"{did_you_mean(needed, found)}{remedy}")
            report.add(candidate.verdict, ("requires", number), fault)


def _ordered(found: Mapping[str, Candidate], report: Report) -> list[Candidate]:
    try:
        order = start_order({name: candidate.manifest.requires for name, candidate in found.items()})
    except RequirementCycleError as error:
        message = f"plugins require one another: {error}"
        verdict = found[error.names[0]].verdict
        report.add(
            verdict,
            ("requires",),
            Fault(ConfigCode.REQUIREMENT_CYCLE, message, "Let one of them do without."),
        )
        order = list(found)
    return [found[name] for name in order]
