#!/bin/sh
# make-certificates.sh FOLDER: an authority (ca.pem, ca-key.pem) and one certificate of it (cert.pem, key.pem) for the
# scheduler, workers and searches of a lab. Dask asks who signed a certificate, not for whom it is. Ten years.
set -eu
folder=${1:?the folder to make them in}
if [ -e "$folder/ca.pem" ]; then
    echo "$folder/ca.pem is there already; remove it to begin anew" >&2
    exit 1
fi
mkdir -p "$folder"
chmod 755 "$folder"
umask 077
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 "$@" 2> /dev/null; }
new -x509 -keyout "$folder/ca-key.pem" -out "$folder/ca.pem" -subj "/CN=layerquant lab"
new -x509 -keyout "$folder/key.pem" -out "$folder/cert.pem" -subj "/CN=layerquant" \
    -CA "$folder/ca.pem" -CAkey "$folder/ca-key.pem" -addext basicConstraints=critical,CA:FALSE
# Containers read them as user 10001.
chmod 644 "$folder/ca.pem" "$folder/cert.pem"
chown 10001 "$folder/key.pem" 2> /dev/null || echo "give key.pem to the containers: sudo chown 10001 $folder/key.pem" >&2
