"""What the Train tab is told: the form's fields, refusals in a sentence, and what sets two trainings apart."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field

from neurovis.training_form import form_fields, network_fields, plan_fields, plans
from neurovis.training_service import TrainingService
from pipeline.errors import ConfigError
from training.jobs import queue

VALUES = {"name": "one", "dataset": "phantom-tiny", "method": "semvideo-tiny"}


@pytest.fixture
def service(home, monkeypatch):
    monkeypatch.setattr(queue, "start_supervisor", lambda store, device: None)
    return TrainingService(home)


def by_path(fields):
    return {".".join(field["path"]): field for field in fields}


def test_every_field_of_the_plan_is_on_the_form_with_its_range_and_description():
    fields = by_path(plan_fields())

    def leaves(value, path=""):
        for key, inner in value.items():
            name = f"{path}.{key}".lstrip(".")
            yield from leaves(inner, name) if isinstance(inner, dict) else [name]

    assert set(leaves(plans()["semvideo"])) <= set(fields)
    batch = fields["mad.finetune.batch_size"]
    assert (batch["type"], batch["min"], batch["optional"]) == ("integer", 2, False)
    assert "C.1" in batch["description"]
    share = fields["sad.pretrain.warmup"]
    assert (share["above"], share["below"]) == (0, 1)
    assert fields["sad.finetune"]["optional"]
    assert fields["sad.pretrain.patience"]["optional"]
    assert fields["repeats"]["choices"] == ["separate", "average", "mixed"]


def test_fields_of_any_config_are_flattened():
    class Inner(BaseModel):
        share: float = Field(0.5, ge=0, lt=3, description="How much.")

    class Outer(BaseModel):
        on: bool = True
        inner: Inner | None = None

    fields = by_path(form_fields(Outer.model_json_schema()))
    assert fields["on"]["type"] == "boolean"
    assert fields["inner"]["optional"]
    own = {"min": 0, "below": 3, "default": 0.5, "description": "How much.", "type": "number"}
    assert own.items() <= fields["inner.share"].items()


def test_networks_of_a_preset_come_with_its_own_values():
    found = network_fields("semvideo-tiny")
    assert by_path(found["fields"])["sad.dropout"]["type"] == "number"
    assert found["values"]["sad"]["dropout"] is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../up"}, "name: must be of a-z"),
        ({"plan_overrides": {"sad": {"pretrain": {"lr": -1}}}}, r"sad\.pretrain\.lr"),
        ({"colour": "red"}, "the form: no field is called `colour`"),
        ({"out": "elsewhere", "method": "none"}, "'none' is not known"),
    ],
)
def test_the_server_checks_the_form_again(service, change, message):
    with pytest.raises(ConfigError, match=message):
        service.start(VALUES | change)
    assert service.jobs() == []


def test_a_started_training_lies_in_the_working_folder_and_its_name_is_taken(service, home):
    row = service.start(VALUES | {"out": "elsewhere"})
    assert row["config"]["out"] == str(home / "training" / "one")
    assert (row["state"], row["title"], row["subjects"]) == ("queued", "one", [])
    with pytest.raises(ConfigError, match="job 1, which is queued, writes there"):
        service.start(VALUES)


def test_two_trainings_are_set_apart_by_what_the_preset_fills_in_too(service):
    service.start(VALUES)
    service.start(VALUES | {"name": "two", "plan_overrides": {"sad": {"pretrain": {"epochs": 7}}}})
    assert service.compare(1, 2) == [{"name": "plan.sad.pretrain.epochs", "values": [2, 7]}]
    service.start(VALUES | {"name": "three", "method": "semvideo-phantom"})
    names = {row["name"] for row in service.compare(1, 3)}
    assert {"method", "plan.start", "plan.sad.pretrain.batch_size"} <= names


def test_a_rendering_needs_a_finished_training_and_one_of_its_subjects(service):
    from training.jobs.store import Store

    service.start(VALUES)
    with pytest.raises(ConfigError, match="is no finished training"):
        service.render(1, "sub-01")
    Store(service.home).update(1, state="done", result={"checkpoints": {"sub-02": "x"}})
    with pytest.raises(ConfigError, match="no decoders of 'sub-01', expected one of sub-02"):
        service.render(1, "sub-01")
    row = service.render(1, "sub-02")
    assert (row["kind"], row["parent"], row["title"]) == ("reconstruct", 1, "one-sub-02")
    service.start(VALUES | {"name": "part", "stages": ["anchor"]})
    Store(service.home).update(3, state="done", result={"checkpoints": {"sub-02": "x"}})
    assert [job["subjects"] for job in service.jobs()] == [[], [], ["sub-02"]]
    with pytest.raises(ConfigError, match="did not train the stages anchor and holi"):
        service.render(3, "sub-02")


def test_a_job_is_told_with_its_curves_and_the_end_of_its_log(service, home):
    service.start(VALUES)
    path = home / "training" / "one" / "stages" / "anchor-all" / "log.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"epoch": 0, "val_score": 0.25}\n{"epoch": 1, "train_loss": 2.5}\n')
    found = service.job(1)
    assert found["curves"]["anchor-all"]["terms"] == {"val_score": [0.25, None], "train_loss": [None, 2.5]}
    assert found["log"][0]["text"] == "queued for cpu"
    assert "-m training run --config" in found["command"]


def test_the_estimate_is_measured_with_the_training_s_own_steps(service, imported_tiny):
    own = TrainingService(imported_tiny)
    short = own.estimate(VALUES | {"stages": ["anchor"], "subjects": ["sub-01"]})
    assert short["steps"]["sad"] > 0
    assert short["steps"]["mad"] == 0
    assert short["memory"] > 1e8
    assert 1e4 < short["disk"] < 1e8
    more = {"sad": {"pretrain": {"epochs": 2000}}}
    long = own.estimate(VALUES | {"stages": ["anchor"], "subjects": ["sub-01"], "plan_overrides": more})
    assert long["seconds"] > short["seconds"] + 1000 * short["steps"]["sad"]  # of about 10,000 more


@pytest.fixture
def imported_tiny(phantom_home, tmp_path):
    import shutil

    from pipeline.data import load

    shutil.copytree(phantom_home, tmp_path / "own")
    load("phantom-tiny", "sub-01", "val", tmp_path / "own")
    return tmp_path / "own"
