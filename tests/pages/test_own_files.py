"""A file of one's own on the Model page: found, refused, opened alone or in an architecture."""

import io

import torch
from safetensors.torch import save

from pruning_core.loading.intake.store import take_in
from pruning_core.loading.model import load_model


def opened(app):
    app.run()
    assert not app.exception
    return app


def upload(app, name, data):
    app.file_uploader[0].upload(name, data).run()
    assert not app.exception
    return [error.value for error in app.error]


def press(app, label):
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception


def metric(app, label):
    return next(metric.value for metric in app.metric if metric.label == label)


def checkpoint(thing):
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def test_a_bad_file_gets_one_sentence_and_a_good_one_can_be_opened_alone(app):
    opened(app)
    errors = upload(app, "layers.pth", checkpoint(torch.nn.Sequential(torch.nn.Linear(2, 2))))
    assert len(errors) == 1
    assert "whole model" in errors[0]
    assert metric(app, "Parameters") == "267 k"
    state = {"up.weight": torch.randn(5, 4), "__init__.weight": torch.randn(4, 5)}
    assert upload(app, "mine.safetensors", save(state)) == []
    press(app, "Open the weights alone")
    assert metric(app, "Parameters") == "40"
    assert metric(app, "MACs per sample") == "unknown"
    assert any("mine" in heading.value for heading in app.subheader)


def test_weights_of_a_bundled_network_are_recognised_with_other_names(app):
    dense = load_model("bundled:lenet_5").module.state_dict()
    data = checkpoint({"state_dict": {f"module.{name}": value for name, value in dense.items()}})
    opened(app)
    assert upload(app, "lenet.pth", data) == []
    assert any("take" in note.value and "module" in note.value for note in app.success)
    press(app, "Open with these names")
    assert metric(app, "Parameters") == "431 k"
    assert metric(app, "MACs per sample") != "unknown"


def test_an_address_opens_uploads_but_no_file_of_the_server(app, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(save({"w.weight": torch.ones(3, 3)}))
    app.query_params["model"] = f"weights:{path}"
    opened(app)
    assert any("No uploaded weights" in error.value for error in app.error)
    upload_of_another = take_in({"w.safetensors": path}).groups[0].reference
    app.query_params["model"] = f"weights:{upload_of_another}"
    del app.session_state["recipe"]
    opened(app)
    assert metric(app, "Parameters") == "9"
