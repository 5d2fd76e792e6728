"""A file of one's own on the Model page: found, refused, opened alone or in an architecture."""

import io
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save

from pages.common import uploads
from pruning_core.errors import DataError
from pruning_core.loading.dataset import load_dataset
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


def wait_for(app, there, seconds=120):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.2)
        opened(app)


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


def test_own_data_are_confirmed_used_and_checked_and_the_old_accuracy_goes(app, component, bench):
    data = load_dataset("fashion_mnist", source="bundled")
    buffer = io.BytesIO()
    images, labels = data.test.inputs[:400, 0].numpy(), data.test.labels[:400].numpy()
    np.savez_compressed(buffer, x=images, y=(labels + 1) % 10)
    opened(app)
    field = next(each for each in app.file_uploader if "28 x 28" in each.label)
    field.upload("mine.npz", buffer.getvalue()).run()
    assert not app.exception
    press(app, "Use these data")
    assert app.session_state["recipe"].data.startswith("upload:")
    wait_for(app, lambda: app.warning)
    assert any("another order" in note.value for note in app.warning)
    shown = [item.get("text", {}).get("detail", "") for item in component(app, "strip")["items"]]
    assert not any("10,000" in detail for detail in shown if detail)


def test_two_files_of_one_name_are_refused_and_nothing_is_read():
    class File:
        name = "model.safetensors"

        def getbuffer(self):
            return b""

    with pytest.raises(DataError, match=r"Two files are called 'model\.safetensors'"):
        uploads._read([File(), File()], lambda paths: pytest.fail(str(paths)))
