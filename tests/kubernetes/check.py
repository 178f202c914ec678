#!/usr/bin/env python3
"""Checks Kubernetes objects, as rendered by kustomize, strictly: a key that the API does not have
is an error, as is a name that refers to nothing.

    check.py VERSION... < objects.yaml

Objects of Kubernetes itself are checked against the schemas of each VERSION, such as 1.29. A JobSet
is checked against JobSet's own types. Prints every problem; exits with 1 if there is one."""

import sys

import kubernetes_validate
import yaml

# Claims that the page tells people to make.
MADE_BY_HAND = {"alexnet-pictures", "alexnet-run"}

POD_TEMPLATES = {
    "StatefulSet": lambda spec: [spec["template"]],
    "Deployment": lambda spec: [spec["template"]],
    "JobSet": lambda spec: [job["template"]["spec"]["template"] for job in spec["replicatedJobs"]],
}


def of_jobset(given):
    """JobSet's types drop what they do not know, so what is read and written again differs."""
    from kubeflow_trainer_api.models.jobset_v1alpha2_failure_policy_rule import (
        JobsetV1alpha2FailurePolicyRule as Rule,
    )
    from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

    known = JobsetV1alpha2JobSet.from_dict(given).to_dict()
    yield from differences(given, known, "JobSet")
    actions = Rule.model_fields["action"].description.split("values are ")[1].rstrip(".").split(", ")
    for rule in given["spec"]["failurePolicy"]["rules"]:
        if rule["action"] not in actions:
            yield f"JobSet: {rule['action']} is no action; there are {', '.join(actions)}"


def differences(given, known, path):
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            if key not in known:
                yield f"{path}: {key} is not a key of the API"
            else:
                yield from differences(value, known[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        for i, (one, other) in enumerate(zip(given, known)):
            yield from differences(one, other, f"{path}[{i}]")
    elif given != known:
        yield f"{path}: {given!r} is read as {known!r}"


def of_kubernetes(given, versions):
    for version in versions:
        try:
            kubernetes_validate.validate(given, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            yield f"{given['kind']} {given['metadata']['name']}, {version}: {path}: {error.message}"


def of_names(objects):
    """Names that pods use: settings, secrets, claims, ports, volumes."""
    here = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    claims = {name for kind, name in here if kind == "PersistentVolumeClaim"}
    pods = []
    for one in objects:
        spec = one.get("spec", {})
        own = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
        templates = POD_TEMPLATES.get(one["kind"], lambda spec: [])(spec)
        pods += templates
        for template in templates:
            pod = template["spec"]
            volumes = {volume["name"] for volume in pod.get("volumes", [])} | own
            for volume in pod.get("volumes", []):
                secret = volume.get("secret")
                if secret:
                    data = here.get(("Secret", secret["secretName"]), {}).get("data", {})
                    for item in secret["items"]:
                        if item["key"] not in data:
                            yield f"Secret {secret['secretName']} has no {item['key']}"
                claim = volume.get("persistentVolumeClaim", {}).get("claimName")
                if claim and claim not in claims | MADE_BY_HAND:
                    yield f"there is no claim {claim}"
            for container in pod["containers"]:
                for mount in container["volumeMounts"]:
                    if mount["name"] not in volumes:
                        yield f"{container['name']}: there is no volume {mount['name']}"
                settings = {}
                for source in container["envFrom"]:
                    name = source["configMapRef"]["name"]
                    settings.update(here.get(("ConfigMap", name), {}).get("data", {}))
                ports = {port["name"] for port in container["ports"]}
                for probe in ("readinessProbe", "livenessProbe"):
                    asked = container.get(probe, {}).get("httpGet", {}).get("port")
                    if asked not in ports:
                        yield f"{container['name']}: {probe} asks a port that is not there"
                for arg in container["args"]:
                    variable = arg.partition("$(")[2].partition(")")[0]
                    if variable and variable not in settings:
                        yield f"{container['name']}: {arg}: no such setting"
    for one in objects:
        if one["kind"] == "Service":
            wanted = one["spec"]["selector"].items()
            chosen = [pod for pod in pods if wanted <= pod["metadata"]["labels"].items()]
            ports = {p["name"] for pod in chosen for p in pod["spec"]["containers"][0]["ports"]}
            for port in one["spec"]["ports"]:
                if port["targetPort"] not in ports:
                    yield f"Service {one['metadata']['name']}: no pod has {port['targetPort']}"
        if one["kind"] == "ServiceMonitor":
            wanted = one["spec"]["selector"]["matchLabels"].items()
            chosen = [o for o in objects if o["kind"] == "Service"]
            chosen = [s for s in chosen if wanted <= s["metadata"]["labels"].items()]
            ports = {port["name"] for service in chosen for port in service["spec"]["ports"]}
            for endpoint in one["spec"]["endpoints"]:
                if endpoint["port"] not in ports:
                    yield f"ServiceMonitor: no service has the port {endpoint['port']}"


def main():
    objects = [one for one in yaml.safe_load_all(sys.stdin) if one]
    problems = list(of_names(objects))
    for one in objects:
        if one["kind"] == "JobSet":
            problems += of_jobset(one)
        elif "k8s.io" in one["apiVersion"] or "." not in one["apiVersion"]:
            problems += of_kubernetes(one, sys.argv[1:])
    for problem in problems:
        print(problem)
    print(f"{len(objects)} objects, {len(problems)} problems")
    sys.exit(bool(problems))


main()
