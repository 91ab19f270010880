"""A study deleted: its trials and events go, what other studies may use (evaluations, recipes, answers) stays."""

from sqlalchemy import delete, select

from optimizer.errors import StudyError
from optimizer.store.columns import database_now
from optimizer.store.database import Database
from optimizer.store.leases import living_holder
from optimizer.store.schema import OutboxEvent, Study, Trial


class Removal(Database):
    def delete_study(self, study_id: int) -> None:
        """Raises StudyError while a living process holds it, or when it is not there; then nothing is deleted."""
        with self.writing() as session:
            study = session.get(Study, study_id, with_for_update=True)
            if study is None:
                raise StudyError(f"Database {self.location} has no study {study_id}.")
            holder = living_holder(study, session.scalar(select(database_now())) or 0.0)
            if holder is not None:
                raise StudyError(f"Study '{study.name}' is held by {holder}. Stop it before you delete it.")
            for table in (OutboxEvent, Trial):
                session.execute(delete(table).where(table.study_id == study_id))
            session.execute(delete(Study).where(Study.id == study_id))
