"""Answers to suites of prompts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "behaviours",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("suite_sha256", sa.String(), nullable=False),
        sa.Column("half", sa.String(), nullable=False),
        sa.Column("settings_key", sa.String(), nullable=False),
        sa.Column("prompts", sa.LargeBinary(), nullable=False),
        sa.Column("summary", JSON, nullable=False),
        sa.Column("generation", JSON, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint("half IN ('whole', 'search', 'report')", name=op.f("ck_behaviours_half")),
        sa.ForeignKeyConstraint(
            ["settings_key"], ["evaluation_settings.key"], name=op.f("fk_behaviours_settings_key_evaluation_settings")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_behaviours")),
        sa.UniqueConstraint(
            "subject",
            "suite_sha256",
            "half",
            "settings_key",
            name=op.f("uq_behaviours_subject_suite_sha256_half_settings_key"),
        ),
    )
