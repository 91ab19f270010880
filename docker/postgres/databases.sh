#!/bin/sh
# Run once, when PostgreSQL's volume is empty: a role and a database of its own for layerquant and for MLflow.
set -eu
make_database() { # make_database NAME PASSWORD; the password goes in by standard input's variable, not on a command line
    DATABASE_PASSWORD="$2" psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres --set name="$1" <<'SQL'
\getenv password DATABASE_PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}
make_database layerquant "$LAYERQUANT_DB_PASSWORD"
make_database mlflow "$MLFLOW_DB_PASSWORD"
