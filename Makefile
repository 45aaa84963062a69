# Two commands for a newcomer: `make demo` and `make test`. Each puts what it needs into .venv first, once.
# Disk and CPU time of each, on two cores without AMX:
#   pip install .   625 MB    .5 minutes    compare, audit, prepare, read images; no torch
#   make demo     6,400 MB   1.5 minutes    .[train], nine tenths of it torch and its GPU libraries; the demo itself about 8 minutes
#   make test     7,600 MB                  .[dev], all extras
# `make serve` opens the page at http://127.0.0.1:8080, with the demo's models (it runs the demo first if need be).
# `make nih NIH=FOLDER [WEIGHTS=FILE] [PRECISION=bf16] [OUT=runs/nih_subset]` compares all localizers on real images, over five folds.
# `make nih-full NIH=FOLDER [OUT=runs/nih_full] [WEIGHTS=FILE] [DRY=1]` does it on all 112,120, on GPUs; DRY=1 tries every step at 64 px.
# `make networks NIH=FOLDER [WEIGHTS=FILE] [DENSENET_WEIGHTS=FILE] [PRECISION=bf16]` compares three networks by five folds on real images.
# FILE: start weights of a ResNet-18 and of a DenseNet-121; without them torchvision's of ImageNet are downloaded.
VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY = $(VENV)/bin/python
INSTALLED = $(VENV)/.installed

# Idle OpenMP threads that spin make torch several times slower when another program holds a core.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo serve nih nih-full networks test check docs types clean

demo: $(INSTALLED)-train
	$(PY) tools/experiments/pipelines/demo.py --out demo

GATE = demo/gate/fold0/classifier.safetensors
DETECTOR = demo/maskrcnn/fold0/maskrcnn.safetensors
serve: $(INSTALLED)-serve $(INSTALLED)-train
	@test -f $(GATE) -a -f $(DETECTOR) || { echo "No trained models yet: the demo trains them first, in about 8 minutes of CPU time."; \
		$(PY) tools/experiments/pipelines/demo.py --out demo; }
	$(PY) tools/serve.py --gate $(GATE) --maskrcnn $(DETECTOR)

nih: $(INSTALLED)-train
	@test -n "$(NIH)" || { echo "give NIH's folder: make nih NIH=/path/to/nih [WEIGHTS=FILE]"; exit 2; }
	$(PY) tools/experiments/pipelines/demo.py --nih "$(NIH)" $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(if $(PRECISION),--precision $(PRECISION)) --out "$(or $(OUT),runs/nih_subset)"

nih-full: $(INSTALLED)-train
	@test -n "$(NIH)" || { echo "give NIH's folder: make nih-full NIH=/path/to/nih [DRY=1]"; exit 2; }
	$(PY) tools/experiments/pipelines/nih_full.py --nih "$(NIH)" $(if $(WEIGHTS),--weights "$(WEIGHTS)") --out "$(or $(OUT),runs/nih_full)" $(if $(DRY),--dry-run)

# what was finished before an interruption is not done again
networks: WITH = $(if $(PRECISION),--train.precision $(PRECISION))
networks: TRANSFER = $(PY) tools/train_classifier.py --config configs/nih/knowledge_transfer.yaml $(WITH)
networks: $(INSTALLED)-train
	@test -n "$(NIH)" || { echo "give NIH's folder: make networks NIH=/path/to/nih [WEIGHTS=FILE] [DENSENET_WEIGHTS=FILE]"; exit 2; }
	$(PY) tools/prepare_data.py --dataset nih --root "$(NIH)" --out data/nih
	$(PY) tools/train_classifier.py --config configs/nih/simple_cnn.yaml $(WITH)
	$(TRANSFER) $(if $(WEIGHTS),--model.weights "$(WEIGHTS)")
	$(TRANSFER) --model.architecture densenet121 --out runs/networks/densenet121 $(if $(DENSENET_WEIGHTS),--model.weights "$(DENSENET_WEIGHTS)")
	$(PY) tools/experiments/compare_networks.py runs/networks/resnet18 runs/networks/densenet121 runs/networks/simple_cnn --ensemble all --out runs/networks/comparison

# a worker per core, four at most: each holds torch; a file's tests stay together
PYTEST = $(PY) -m pytest -n logical --maxprocesses 4 --dist loadfile
test: $(INSTALLED)-dev
	$(PYTEST)

check: $(INSTALLED)-dev types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	MYPYPATH=build/types:build/types/tests $(PY) -m mypy --namespace-packages --explicit-package-bases build/types
	$(PYTEST)

# the site, strictly: a dead link ends it; open build/docs/site/index.html
docs: $(INSTALLED)-docs
	PYTHONPATH=docs $(PY) -m generate.build

# mypy reads files, not installed packages: give it a tree in which the rooms are named cxrloc.*, with the tests beside them
types:
	mkdir -p build/types/cxrloc
	for room in classification configs datasets detection localization tools; do \
		ln -sfn ../../../$$room build/types/cxrloc/$$room; done
	ln -sfn ../../tests build/types/tests
	ln -sfn ../../docs/generate build/types/generate

# one stamp for each extra; `dev` holds the others
WITHIN = $(if $(filter dev,$*),train serve docs)
$(INSTALLED)-%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --upgrade-strategy only-if-needed -c constraints.txt -e ".[$*]"
	touch $(addprefix $(INSTALLED)-,$(WITHIN)) $@

clean:
	rm -rf $(VENV) build demo .pytest_cache .mypy_cache .ruff_cache *.egg-info
