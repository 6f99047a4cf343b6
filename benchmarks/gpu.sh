#!/usr/bin/env bash
# Everything that has to be shown on a GPU, in one go: bash benchmarks/gpu.sh [FOLDER]
#
# Writes to FOLDER (default: runs/gpu) a log of each part and the numbers as JSON. Meant to take some minutes
# on one H100 after `make install`, which nobody has timed yet. A part that fails stops no other.
# QUICK=1 rehearses all of it with small networks, also without a GPU.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/gpu}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$out"

if [ -n "${QUICK:-}" ]; then
    speed=(--quick --compile off --rows player,fast)
    small=(--preset demo --env atari/Breakout --environment.height 16 --environment.width 16 --horizon 3)
    for network in denoiser reward-end; do
        small+=("--$network.channels" 8 "--$network.depths" 1 "--$network.attention" False "--$network.cond-channels" 8)
    done
    small+=(--reward-end.lstm-channels 8 --reward-end.window 3 --actor-critic.channels 8 --actor-critic.pool True)
    memory=(--small --updates 2)
    updates=3 first=40 epoch=40 total=200 interrupt=20 # hardly any reward in 40 steps: collection doubles them
else
    speed=(--repetitions 3)
    small=(--preset atari100k --env atari/Breakout)
    memory=()
    updates=400 first=1000 epoch=100 total=1300 interrupt=75
fi
# Four epochs: 400 updates of each network and 100 real steps in each; the first one has more steps and the compiler.
run=("${small[@]}" --out "$out/run" --epochs 0 --evaluation.every-epochs 0 --evaluation.final-episodes 1
    --evaluation.num-envs 1 --environment.max-steps 40 --checkpoint-seconds 30
    --collection.first-steps "$first" --collection.steps-per-epoch "$epoch"
    --collection.total-steps "$total")
for network in denoiser reward-end actor-critic; do
    run+=("--$network-updates.first-steps" "$updates" "--$network-updates.steps" "$updates")
done

part() { # NAME SECONDS COMMAND...: its output on the screen and in FOLDER/NAME.log, how it ended in FOLDER/parts.txt
    local name=$1 seconds=$2 began=$SECONDS
    shift 2
    printf '\n== %s: %s\n' "$name" "$*"
    timeout --signal=INT --kill-after=30 "$seconds" "$@" 2>&1 | tee "$out/$name.log"
    printf '%s: exit code %s, %s s\n' "$name" "${PIPESTATUS[0]}" $((SECONDS - began)) | tee -a "$out/parts.txt"
}

: > "$out/parts.txt"
part machine 60 "$python" -c 'import torch; print(torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")'
part memory_expected 300 "$python" -m diffworld train "${run[@]}" --dry-run
if command -v nvidia-smi > /dev/null; then # the most memory that is in use while the run trains, MiB, twice a second
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits --loop-ms=500 > "$out/memory_used.txt" &
    watcher=$!
fi
rm -rf "$out/run"
part interrupted "$interrupt" "$python" -m diffworld train "${run[@]}" # exit code 124: stopped; it goes on below
part resumed 300 "$python" -m diffworld train "${run[@]}"
[ -z "${watcher:-}" ] || kill "$watcher"
part memory_csgo 600 "$python" -m benchmarks.memory "${memory[@]}" # exit code 2: the forecast was off, or over 24 GB
part memory_atari 300 "$python" -m benchmarks.memory --preset atari100k "${memory[@]}"
part graphs 240 "$python" -m pytest -q tests/runtime/test_cuda_graphs.py tests/runtime/test_device.py
part speed 900 "$python" -m benchmarks.speed "${speed[@]}" --json "$out/speed.json"
part dream_env 120 "$python" -m benchmarks.dream_env --out "$out/dream_env.json"

"$python" - "$out" <<'END' | tee "$out/summary.txt"
import json, sys
from pathlib import Path

out = Path(sys.argv[1])
print("\nseconds of each epoch, by phase")
for line in (out / "run" / "metrics.jsonl").read_text().splitlines():
    entry = json.loads(line)
    phases = {k[5:-8]: round(v, 1) for k, v in entry.items() if k.startswith("time/")}
    print(f"  epoch {entry['epoch']}: {sum(phases.values()):.1f} in all, {phases}")
used = out / "memory_used.txt"
if used.exists():
    print(f"most GPU memory in use: {max(map(int, used.read_text().split()))} MiB; the dry run expected:")
    print(*[line for line in (out / "memory_expected.log").read_text().splitlines() if "memory" in line], sep="\n")
for name in ("memory_csgo", "memory_atari"):
    print(f"{name}:", *(out / f"{name}.log").read_text().splitlines()[-5:], sep="\n  ")
print((out / "parts.txt").read_text())
END
