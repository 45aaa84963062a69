r"""Which network is better? Compare cross-validated networks on the same images, out of fold.

    cxrloc compare-networks runs/a runs/b --out runs/comparison
    cxrloc compare-networks runs/a runs/b big=runs/c --ensemble a big \
        --out runs/comparison

A RUN is a folder written by `cxrloc train-gate`, over all folds or one split; NAME=RUN gives it
another name than the folder's. All runs must hold the same images and labels.

OUT receives networks.csv (every figure of every network, next to published ones), confusion.csv
(counts, TPR, TNR and F1 of each disease and summed) and differences.csv (AUC of all pairs: paired
patient bootstrap, DeLong's test, Holm's correction); all of it to read as networks.md and .tex; and
networks.png.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

from cxrloc.configs.command_line import add_resampling_options, run_tool, tool_parser
from cxrloc.configs.help_page import add_full_paths
from cxrloc.datasets.files.runs.locks import while_holding, writes_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("compare_networks", lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, or NAME=RUN")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--ensemble",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME",
        help="add a row: the mean of these networks' probabilities, or of `all`; repeatable",
    )
    add_resampling_options(parser)
    add_full_paths(parser)
    return parser


def named_runs(arguments: Sequence[str]) -> dict[str, Path]:
    """`RUN` and `NAME=RUN` arguments as a dict, in order; a name is the folder's if none is given.

    Raises:
        ValueError: for an empty name or folder, or a name given twice.
    """
    runs: dict[str, Path] = {}
    for word in arguments:
        name, equals, folder = word.rpartition("=")
        name = name if equals else Path(folder).resolve().name
        if not name or not folder:
            raise ValueError(f"RUN {word!r}: expected a folder or NAME=FOLDER")
        if name in runs:
            raise ValueError(f"two runs are called {name!r}; name them with NAME=FOLDER")
        runs[name] = Path(folder)
    return runs


@while_holding(lambda arguments: writes_folder(arguments.out))
def _run(arguments: argparse.Namespace) -> None:
    # after the command line is read: --help needs no torch
    from cxrloc.classification.metrics.networks import (
        check_same_images,
        compare_networks,
        ensemble,
        read_network,
    )
    from cxrloc.classification.report.networks import write_comparison
    from cxrloc.classification.run_folder import RunFolder
    from cxrloc.datasets.files.manifest import file_sha256, run_manifest

    started, runs = time.time(), named_runs(arguments.runs)
    networks = {name: read_network(name, run) for name, run in runs.items()}
    first = next(iter(networks.values()))
    for network in networks.values():
        check_same_images(first, network)
    groups = [_members(names, list(runs)) for names in arguments.ensemble]
    ensembles = [ensemble([networks[name] for name in group]) for group in groups]
    comparison = compare_networks(
        [*networks.values(), *ensembles], replicates=arguments.resamples, seed=arguments.seed
    )
    hashes = {name: file_sha256(RunFolder(run).out_of_fold) for name, run in runs.items()}
    facts, seed, out = vars(arguments), arguments.seed, arguments.out
    manifest = run_manifest(facts, seed=seed, hashes=hashes, started=started, folder=out)
    print(write_comparison(arguments.out, comparison, manifest))
    print(f"Results are in {arguments.out}; read {arguments.out / 'networks.md'}.")


def _members(names: Sequence[str], networks: Sequence[str]) -> Sequence[str]:
    if list(names) == ["all"]:
        return networks
    unknown = [name for name in names if name not in networks]
    if unknown:
        raise ValueError(f"--ensemble: no network {', '.join(unknown)}; known are {list(networks)}")
    if len(set(names)) < len(names):
        raise ValueError(f"--ensemble {' '.join(names)}: expected each network once")
    return names


if __name__ == "__main__":
    raise SystemExit(main())
