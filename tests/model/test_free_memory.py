"""What memory is free and what is in use, as the machine and its control groups say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from paths import ROOT

from flowgru.model import memory
from flowgru.model.buffers import idle_bytes
from flowgru.model.memory import free_memory, used_memory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process inherits the peak of the one that started it")
def test_the_peak_is_this_processs_own():
    large = torch.ones(2**28)  # 1 GiB
    code = "import torch; from flowgru.model.memory import peak_memory; print(peak_memory(torch.device('cpu')))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=200
    )
    assert 10 * 2**20 < int(run.stdout) < large.nbytes


def test_free_memory_is_at_most_what_the_machine_has():
    assert 0 < free_memory(CPU) <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 10 * 2**20 < used_memory(CPU) < 2**40


def write_group(folder: Path, limit: str, used: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(limit)
    (folder / "memory.current").write_text(str(used))
    (folder / "memory.stat").write_text(f"anon {used - cache}\ninactive_file {cache}\n")


def test_control_groups_count_what_is_used_and_not_what_is_kept_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "OWN_GROUP", own := tmp_path / "cgroup")
    before = free_memory(CPU)
    for said, place in (("0::/\n", "."), ("1:cpu:/x\n0::/slice/job\n", "slice/job"), ("0::/../job\n", ".")):
        own.write_text(said)
        write_group(tmp_path / "groups" / place, "max\n", 2**20, 0)
        assert free_memory(CPU) > before / 2
        write_group(tmp_path / "groups" / place, str(3 * 2**20), 2 * 2**20, 2**19)
        assert free_memory(CPU) - idle_bytes() == 2**20 + 2**19
        write_group(tmp_path / "groups" / place, "max\n", 2**20, 0)
    own.write_text("0::/slice/job\n")
    write_group(tmp_path / "groups/slice", str(2**20), 2**19, 0)
    assert free_memory(CPU) - idle_bytes() == 2**19, "the limit of the group around it holds, too"


def test_what_only_graphs_may_use_is_not_free(monkeypatch):
    def segment(device, pool, total, used):
        return {"device": device, "segment_pool_id": pool, "total_size": total, "allocated_size": used}

    segments = [segment(1, (0, 0), 100, 30), segment(1, (0, 7), 1000, 0), segment(0, (0, 0), 500, 0)]
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: segments)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5000, 9000))
    assert free_memory(torch.device("cuda:1")) == 5000 + 70
