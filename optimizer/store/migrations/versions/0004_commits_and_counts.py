"""Tokens of committed transactions, for when a server's answer is lost; trials counted by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "commits",
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_commits")),
    )
    op.create_index("ix_trials_study_id_state", "trials", ["study_id", "state"], unique=False)
