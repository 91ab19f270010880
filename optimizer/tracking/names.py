"""By what studies are found in MLflow. Apart from what writes them, which imports MLflow and takes seconds."""

from optimizer.store import StudyRecord

EXPERIMENT = "layerquant"
STUDY_TAG = "layerquant.study"


def study_tag(study: StudyRecord) -> str:
    """The value of STUDY_TAG: unlike a name the same for no other study, even where databases share one server."""
    return f"{study.name}@{study.created_at:.3f}"
