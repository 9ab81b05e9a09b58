"""A model whose layers lie on several devices: asked for where the study says so, read as one on one device is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from repurpose.model.gpus import SHARED, GpuError
from repurpose.model.hooks import read_layers
from repurpose.model.loading import load_model, placement
from repurpose.study.settings import Pair


def test_layers_are_dealt_out_where_several_gpus_are_there_and_asked_for() -> None:
    assert placement(there=4, shared=2) == {"device_map": "balanced"}
    assert placement(there=4, shared=1) == placement(there=0, shared=2) == {}


def test_fewer_gpus_than_the_study_says_is_one_line(
    pair_folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SHARED, "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(GpuError, match=r"pair.gpus: 2 GPUs are asked for, this job may use 1$"):
        load_model(Pair(**pair_folders), "base")


def test_layers_on_two_devices_are_read_as_those_on_one(pair_folders: dict[str, str], tmp_path: Path) -> None:
    """No second GPU is here: of three layers one stays on the disk, which dispatches as another device does."""
    parts = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    places = {**parts, "model.layers.0": "cpu", "model.layers.1": "disk", "model.layers.2": "cpu"}
    dispatched = AutoModelForCausalLM.from_pretrained(
        pair_folders["base"], device_map=places, offload_folder=str(tmp_path), dtype=torch.float32
    )
    assert set(dispatched.hf_device_map.values()) == {"cpu", "disk"}
    ids, found = torch.tensor([[0, 5, 9, 11, 7]]), []
    for model in (load_model(Pair(**pair_folders), "base"), dispatched.train(False)):
        read: dict[int, torch.Tensor] = {}
        with torch.no_grad():
            read_layers(
                model, [0, 1, 2], lambda layer, hidden, read=read: read.update({layer: hidden.clone()}), input_ids=ids
            )
        found.append(read)
    for layer in (0, 1, 2):
        assert torch.equal(found[0][layer], found[1][layer])
