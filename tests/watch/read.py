"""Reads what a run shows to those who watch it, by the tools that people use; prints JSON.

    read.py events RUN/tensorboard   what TensorBoard would draw: {run: {tag: [[step, value], …]}},
                                     and under "written" how many records its files hold
    read.py scrape PAGE              what Prometheus' own parser makes of a page:
                                     {family: {"type": …, "help": …, "samples": [[name, labels, value], …]}}

Needs `pip install --target target/watch-tools -r tests/watch-tools.txt` and PYTHONPATH there.
"""

import json
import pathlib
import sys


def events(folder):
    from tensorboard.backend.event_processing import event_accumulator, event_file_loader

    runs, written = {}, 0
    for run in sorted(path for path in pathlib.Path(folder).iterdir() if path.is_dir()):
        everything = {event_accumulator.SCALARS: 0}
        accumulator = event_accumulator.EventAccumulator(str(run), size_guidance=everything)
        accumulator.Reload()
        tags = accumulator.Tags()["scalars"]
        runs[run.name] = {tag: [[e.step, e.value] for e in accumulator.Scalars(tag)] for tag in tags}
        for file in run.iterdir():
            loader = event_file_loader.LegacyEventFileLoader(str(file))
            written += sum(event.HasField("summary") for event in loader.Load())
    return {"runs": runs, "written": written}


def scrape(file):
    from prometheus_client.parser import text_string_to_metric_families

    families = {}
    for family in text_string_to_metric_families(pathlib.Path(file).read_text()):
        samples = [[s.name, s.labels, s.value] for s in family.samples]
        assert family.name not in families, f"{family.name} is there twice"
        families[family.name] = {
            "type": family.type,
            "help": family.documentation,
            "samples": samples,
        }
    return families


what, path = sys.argv[1:]
print(json.dumps({"events": events, "scrape": scrape}[what](path)))
