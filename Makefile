# The course's commands. They work from a bare clone with Python 3.10 to 3.13 and make:
# each makes .venv first if it is not there yet (tools/ready.sh).

CONSTRAINTS = constraints.txt
export PYTHON CONSTRAINTS TORCH_INDEX

ready = sh tools/ready.sh
python = .venv/bin/python
# Tests run offline and leave the student's own record alone.
tested = env HF_HUB_OFFLINE=1 SDLEARN_PROGRESS=off SDLEARN_STRICT= PYTHONUTF8=1
# Two at a time, each with one thread: on two cores a third faster than one with two.
parallel = OMP_NUM_THREADS=1 $(python) -m pytest -n 2 --dist loadfile
nbval = --nbval-lax --nbval-current-env --nbval-cell-timeout=600 \
	--nbval-sanitize-with tests/sanitize.cfg
# What tests/test_original.py holds the course against.
original = { [ -d build/original/ldm ] || $(python) tools/fetch_original.py; }
stopped = { echo; echo "make test: stopped at the $(1)" >&2; exit 1; }

.PHONY: help lab test run bench gpu doctor dev clean clean-all

help:
	@echo 'make lab                   open the course in JupyterLab'
	@echo 'make lab ARGS="02"         open chapter 02 (ARGS goes to `sdlearn lab`)'
	@echo 'make doctor                examine this machine; say what is missing'
	@echo 'make run                   execute every chapter, write it as a page to build/'
	@echo 'make run CHAPTERS="01 02"  the same for some chapters'
	@echo 'make test                  run everything that is tested, the chapters included'
	@echo 'make bench                 measure our networks against diffusers, side by side'
	@echo 'make gpu                   on a GPU: its tests, every chapter at its GPU size, bench'
	@echo 'make dev                   for contributors: all tools, and the commit hooks'
	@echo 'make clean                 remove what the commands wrote, keep .venv'
	@echo 'make clean-all             the same, and .venv'
	@echo
	@echo 'PYTHON=python3.12          the Python to use'
	@echo 'CONSTRAINTS=               the newest releases in place of the tested ones'
	@echo 'TORCH_INDEX=https://download.pytorch.org/whl/cpu'
	@echo '                           a far smaller download on Linux without an NVIDIA GPU'

lab:
	@$(ready) lab
	@$(python) -m sdlearn lab $(ARGS)

doctor:
	@$(ready) lab
	@$(python) -m sdlearn doctor

run:
	@$(ready) lab
	@$(python) -m sdlearn run $(CHAPTERS)

test:
	@$(ready) test
	@$(original) || echo 'Not fetched (pip says why): tests/test_original.py will be skipped.'
	@echo '== style ==' && $(python) -m ruff check . && $(python) -m ruff format --check . \
		|| $(call stopped,style)
	@echo '== cells that mirror the package ==' && $(tested) $(python) tools/notebooks.py check \
		|| $(call stopped,cells that mirror the package)
	@echo '== tests ==' && $(tested) SDLEARN_DEVICE=cpu $(parallel) tests \
		|| $(call stopped,tests)
	@echo '== chapters ==' && $(tested) SDLEARN_DEVICE=cpu $(parallel) $(nbval) notebooks \
		|| $(call stopped,chapters)

bench:
	@$(ready) lab
	@$(python) benchmarks/bench.py $(PAIRS)

gpu:
	@$(ready) test
	@$(python) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { \
		echo 'make gpu: torch finds no CUDA device here; `make doctor` says more.' >&2; exit 1; }
	@$(tested) SDLEARN_DEVICE=cuda $(python) -m pytest -m gpu tests
	@$(tested) SDLEARN_DEVICE=cuda $(python) -m sdlearn run --out build/gpu $(CHAPTERS)
	@SDLEARN_DEVICE=cuda $(python) benchmarks/bench.py --large

dev:
	@$(ready) dev
	@$(python) -m pre_commit install

clean:
	rm -rf build dist .cache .hypothesis .pytest_cache .ruff_cache *.egg-info
	find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-exec rm -rf {} +

clean-all: clean
	rm -rf .venv
