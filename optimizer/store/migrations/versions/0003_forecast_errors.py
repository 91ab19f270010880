"""The standard deviation of a forecast, so that its calibration can be shown."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trials", sa.Column("predicted_kld_standard_error", sa.Double(), nullable=True))
