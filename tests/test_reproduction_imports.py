"""Importing the reproduction computes nothing: no file is read and no table is made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ensembles.reproduction import experiments

CODE = """
import importlib, json, pkgutil, sys
import pandas as pd
import ensembles.reproduction
import ensembles.plots.lesions, ensembles.plots.paths, ensembles.report, ensembles.checkpoints
import ensembles.analyses.members.lesion, ensembles.analyses.members.paths, ensembles.statistics

read, made = [], []
ENDINGS = (".py", ".pyc", ".so", ".pth", ".txt", "METADATA")

def watched(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and not arguments[0].endswith(ENDINGS):
        read.append(arguments[0])

original = pd.DataFrame.__init__

def counted(self, *arguments, **options):
    made.append(1)
    original(self, *arguments, **options)

names = [one.name for one in pkgutil.walk_packages(
    ensembles.reproduction.__path__, "ensembles.reproduction.")]
sys.addaudithook(watched)
pd.DataFrame.__init__ = counted
for name in names:
    importlib.import_module(name)
print(json.dumps([names, read, len(made)]))
"""


def test_importing_every_module_reads_no_file_and_makes_no_table() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    names, read, made = json.loads(done.stdout)
    files = [path.stem for path in Path(experiments.__path__[0]).glob("[!_]*.py")]
    found = [name.rpartition(".")[2] for name in names if ".experiments." in name]
    assert sorted(found) == sorted(files)
    assert len(found) > 12
    assert (read, made) == ([], 0)


def test_the_list_of_experiments_imports_none() -> None:
    code = "import sys, ensembles.reproduction.experiments\n"
    code += "print([m for m in sys.modules if m.startswith('ensembles.reproduction.experiments.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
