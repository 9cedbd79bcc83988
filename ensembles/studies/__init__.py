"""Studies: networks, data and analyses of them named in one value, and measured into one store.

from ensembles.studies import Data, Network, Study, Sweep, read_study, run, status, tables

study = read_study("study.toml")            # or Study(name=..., models=(Network("vgg15"),), ...)
run(study, "study.db")                      # what is missing; may be stopped and continued
status(study, "study.db")                   # a row for each unit
tables(study, "study.db")["lesions"]        # tidy, with the provenance in attrs
"""

from ensembles.studies.executors import EXECUTORS, Executor, Setting, run
from ensembles.studies.export import export, table_names, tables, unit_table
from ensembles.studies.merge import merge
from ensembles.studies.status import status
from ensembles.studies.study import RunTable, Study, Unit
from ensembles.studies.toml import parse_study, read_study, study_of, unit_of
from ensembles.studies.units import Networks, UnitResult, prepare_unit, run_unit
from ensembles.studies.values import Data, Measurement, Network, Sweep
from ensembles.studies.workers.intake import take_in
from ensembles.studies.written import study_text, written_unit

Images = Data
"""What version 1 called data."""

__all__ = [
    "EXECUTORS",
    "Data",
    "Executor",
    "Images",
    "Measurement",
    "Network",
    "Networks",
    "RunTable",
    "Setting",
    "Study",
    "Sweep",
    "Unit",
    "UnitResult",
    "export",
    "merge",
    "parse_study",
    "prepare_unit",
    "read_study",
    "run",
    "run_unit",
    "status",
    "study_of",
    "study_text",
    "table_names",
    "tables",
    "take_in",
    "unit_of",
    "unit_table",
    "written_unit",
]
