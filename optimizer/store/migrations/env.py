"""Alembic's entry: migrates on the connection, and in the transaction, that the store opened."""

from alembic import context

from optimizer.store.schema import VERSION_TABLE, Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
