"""The few places where Keras 3 and Keras 2.3 (Theano) differ.

Everything else in the program uses only what both share: the functional model,
Conv1D, ZeroPadding1D, Reshape, Activation, Add and small custom layers.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from util import UserError

IS_KERAS_3 = int(keras.__version__.split(".")[0]) >= 3

if IS_KERAS_3:
    from keras import ops

    matmul = ops.matmul
    transpose = ops.transpose
    reshape = ops.reshape
    mean = ops.mean
    absolute = ops.abs
    square = ops.square
    tanh = ops.tanh
    sigmoid = ops.sigmoid
    total = ops.sum
    maximum = ops.maximum
    isnan = ops.isnan
    where = ops.where

    def pad_time(x: Any, left: int, right: int) -> Any:
        """Zeros before and after axis 1 of (batch, time, channels)."""
        return ops.pad(x, ((0, 0), (left, right), (0, 0)))

else:
    from keras import backend
    from theano import tensor

    # Theano follows a graph by recursion, and 40 blocks with their gradients are deep.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 10_000))

    matmul = backend.dot
    transpose = backend.permute_dimensions
    reshape = backend.reshape
    mean = backend.mean
    absolute = backend.abs
    square = backend.square
    tanh = backend.tanh
    sigmoid = backend.sigmoid
    total = backend.sum
    maximum = backend.maximum
    isnan = tensor.isnan
    where = tensor.switch

    def pad_time(x: Any, left: int, right: int) -> Any:
        """Zeros before and after axis 1 of (batch, time, channels)."""
        return backend.temporal_padding(x, (left, right))


def backend_name() -> str:
    """The running backend: jax, torch, tensorflow or theano."""
    return keras.backend.backend()


def kernel_convention() -> str:
    """How the backend's Conv1D reads a kernel: `theano` flips it, others do not."""
    return "theano" if backend_name() == "theano" else "tensorflow"


def make_optimizer(learning_rate: float, epsilon: float) -> Any:
    """Adam; its time decay is applied by whoever sets the learning rate."""
    if IS_KERAS_3:
        return keras.optimizers.Adam(learning_rate=learning_rate, epsilon=epsilon)
    return keras.optimizers.Adam(lr=learning_rate, epsilon=epsilon)


def set_learning_rate(optimizer: Any, value: float) -> None:
    """Use `value` from the next step on."""
    if IS_KERAS_3:
        optimizer.learning_rate = value
    else:
        backend.set_value(optimizer.lr, value)


def train_on_batch(model: Any, inputs: Any, targets: list) -> dict:
    """One step; loss and metrics of this batch alone, before the step."""
    if IS_KERAS_3:
        model.reset_metrics()
        return model.train_on_batch(inputs, targets, return_dict=True)
    return dict(zip(model.metrics_names, model.train_on_batch(inputs, targets)))


def test_on_batch(model: Any, inputs: Any, targets: list) -> dict:
    """Loss and metrics of one batch."""
    if IS_KERAS_3:
        model.reset_metrics()
        return model.test_on_batch(inputs, targets, return_dict=True)
    return dict(zip(model.metrics_names, model.test_on_batch(inputs, targets)))


def adam_state(model: Any) -> tuple:
    """(step counter, first moments, second moments), lists beside trainable weights.

    The elements are variables; the optimizer's are made where they do not exist yet.
    """
    optimizer = model.optimizer
    if IS_KERAS_3:
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        return optimizer.iterations, optimizer._momentums, optimizer._velocities
    model._make_train_function()
    weights, count = optimizer.weights, len(model.trainable_weights)
    return weights[0], weights[1 : count + 1], weights[count + 1 : 2 * count + 1]


def get_value(variable: Any) -> Any:
    """A variable as a NumPy array."""
    if IS_KERAS_3:
        return ops.convert_to_numpy(ops.convert_to_tensor(variable))
    return backend.eval(variable)


def set_value(variable: Any, value: Any) -> None:
    """Write an array into a variable."""
    if IS_KERAS_3:
        variable.assign(value)
    else:
        backend.set_value(variable, value)


def set_seed(seed: int) -> None:
    """Seed the initial weights."""
    if IS_KERAS_3:
        keras.utils.set_random_seed(seed)
    else:
        np.random.seed(seed)  # noqa: NPY002 - what Keras 2.3 draws from


def devices() -> list:
    """JAX's devices.

    A UserError where there are none of the kind that was asked for.
    """
    import jax

    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS", "")
        reason = " ".join(str(error).split()) or "there is no such device"
        raise UserError(
            f"expected a device for JAX (JAX_PLATFORMS={asked!r}), got: {reason}"
        ) from None


def processes() -> tuple:
    """(number of training processes, this one's number)."""
    if IS_KERAS_3 and backend_name() == "jax":
        import jax

        devices()
        return jax.process_count(), jax.process_index()
    return 1, 0


def largest_of_processes(value: int) -> int:
    """The largest of the numbers that all training processes give; they wait for it."""
    if processes()[0] == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.array(value)).max())


def num_devices() -> int:
    """Devices that share a batch, those of all processes counted."""
    if IS_KERAS_3 and backend_name() == "jax":
        import jax

        devices()
        return jax.device_count()
    return 1


def is_jax_on_cpu() -> bool:
    """Whether JAX runs, on a processor."""
    if not IS_KERAS_3 or backend_name() != "jax":
        return False
    return devices()[0].platform == "cpu"


def is_jax_on_gpu() -> bool:
    """Whether JAX runs, on a GPU."""
    if not IS_KERAS_3 or backend_name() != "jax":
        return False
    return devices()[0].platform == "gpu"


def distribute() -> None:
    """Share every batch among all devices, and processes where several were started.

    Several processes find each other by the environment variables
    KERAS_DISTRIBUTION_JOB_ADDRESSES, KERAS_DISTRIBUTION_NUM_PROCESSES and
    KERAS_DISTRIBUTION_PROCESS_ID.
    """
    if not IS_KERAS_3 or backend_name() != "jax":
        return
    if "KERAS_DISTRIBUTION_NUM_PROCESSES" in os.environ:
        keras.distribution.initialize()
    if num_devices() > 1:
        keras.distribution.set_distribution(keras.distribution.DataParallel())


def constant(array: Any) -> Any:
    """An array as a tensor of the backend."""
    if IS_KERAS_3:
        return ops.convert_to_tensor(array)
    return backend.constant(array)


def shape_of(x: Any) -> tuple:
    """The static shape of a tensor; None where it is not known."""
    return tuple(x.shape) if IS_KERAS_3 else backend.int_shape(x)


def check_precision(precision: str) -> None:
    """Refuse a precision that the backend or its device does not have."""
    if precision == "float32":
        return
    if not IS_KERAS_3 or backend_name() != "jax":
        raise UserError(
            f"--precision {precision} needs KERAS_BACKEND=jax, got {backend_name()}"
        )
    capability = getattr(devices()[0], "compute_capability", "8.0")  # CUDA's alone
    if precision == "bfloat16" and float(capability) < 8:
        raise UserError(
            "--precision bfloat16 needs a GPU of compute capability 8.0 or more, got "
            f"{capability}"
        )


@contextlib.contextmanager
def layers_in(precision: str) -> Iterator[None]:
    """Make layers that compute in a precision; their weights stay float32."""
    if precision != "bfloat16":
        yield
        return
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Compile what runs inside with exact products on a GPU, if `highest`.

    Otherwise they are left to what is fast there, TF32.
    """
    if precision != "highest":
        yield
        return
    import jax

    with jax.default_matmul_precision("highest"):
        yield


def compiled(model: Any, precision: str = "float32") -> Any:
    """A function from the list of a model's inputs to the list of its outputs.

    It compiles once for each shape. On JAX the outputs stay on the device until they
    are converted, and the weights are those the model has now.
    """
    single = len(model.inputs) == 1
    if backend_name() != "jax":
        return lambda inputs: model.predict_on_batch(inputs[0] if single else inputs)
    import jax

    trainable = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]

    @jax.jit
    def run(trainable: list, others: list, inputs: list) -> list:
        with products_in(precision):
            outputs, _ = model.stateless_call(
                trainable, others, inputs[0] if single else inputs, training=False
            )
        return outputs

    return lambda inputs: run(trainable, others, inputs)
