"""Studies: networks, data, lesions and paths named in one value, and measured into one store.

from ensembles.studies import Images, Network, Study, Sweep, read_study, run, status, tables

study = read_study("study.toml")            # or Study(name=..., models=(Network("vgg15"),), ...)
run(study, "study.db")                      # what is missing; may be stopped and continued
status(study, "study.db")                   # a row for each unit
tables(study, "study.db")["lesions"]        # tidy, with the provenance in attrs
"""

from ensembles.studies.export import export, tables
from ensembles.studies.merge import merge
from ensembles.studies.run import run
from ensembles.studies.status import status
from ensembles.studies.toml import parse_study, read_study
from ensembles.studies.values import Analysis, Images, Network, Study, Sweep, Unit

__all__ = [
    "Analysis",
    "Images",
    "Network",
    "Study",
    "Sweep",
    "Unit",
    "export",
    "merge",
    "parse_study",
    "read_study",
    "run",
    "status",
    "tables",
]
