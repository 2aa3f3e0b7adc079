"""The BERT encoder of all-MiniLM-L6-v2 as an ONNX graph, pooling and normalising included.

The graph holds no weights: its initializers name byte ranges of the safetensors file that lies beside it.
Nodes work on tokens in rows, `(batch · length, 384)`; only attention sees `(batch, heads, length, 32)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from astromesh_core.errors import NotSupported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx import ModelProto, NodeProto, TensorProto

    from astromesh_vectors.minilm.weights import Tensor

REVISION = 1
"""Counted up with each change of the graph, so that no cache of an older one is used."""

DIMENSION = 384
LAYERS = 6
HEADS = 12
HEAD_SIZE = DIMENSION // HEADS
INTERMEDIATE = 1536
EPSILON = 1e-12
MASKED = -1e9
"""Added to the score of a padding token: far below any real score, and finite."""

OPSET = 20
IR_VERSION = 10

INPUT_IDS = "input_ids"
ATTENTION_MASK = "attention_mask"
EMBEDDING = "sentence_embedding"


def build(tensors: Mapping[str, Tensor], weights_file: str) -> bytes:
    """The serialized model: int64 `input_ids`, `attention_mask` `(batch, length)` to unit float32 `(batch, 384)`.

    Raises NotSupported when a tensor is missing or of another shape.
    """
    from onnx import TensorProto, helper

    graph = _Graph(tensors, weights_file)
    output = _pooled(graph, _encoder(graph))
    shape: list[str | int] = ["batch", "length"]
    model: ModelProto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "all-MiniLM-L6-v2",
            [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in (INPUT_IDS, ATTENTION_MASK)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", DIMENSION])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="astromesh",
    )
    return model.SerializeToString()


class _Graph:
    """Collects nodes and initializers; each method returns the name of a value."""

    def __init__(self, tensors: Mapping[str, Tensor], weights_file: str) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._tensors = tensors
        self._file = weights_file
        self._known: set[str] = set()

    def node(self, op: str, *inputs: str, output: str = "", **attributes: int | float | Sequence[int]) -> str:
        from onnx import helper

        name = output or f"{op}_{len(self.nodes)}"
        node = helper.make_node(op, list(inputs), [name], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name

    def weight(self, name: str, *shape: int) -> str:
        if name not in self._known:
            self._known.add(name)
            self.initializers.append(self._external(name, shape))
        return name

    def ints(self, name: str, *values: int) -> str:
        return self._constant(name, values, integers=True)

    def scalar(self, name: str, value: float) -> str:
        return self._constant(name, (value,), integers=False)

    def linear(self, rows: str, name: str, inputs: int, outputs: int) -> str:
        """A dense layer; PyTorch keeps weights as (out, in), which is what transB undoes without a copy."""
        weight, bias = self.weight(f"{name}.weight", outputs, inputs), self.weight(f"{name}.bias", outputs)
        return self.node("Gemm", rows, weight, bias, transB=1)

    def normalized(self, rows: str, name: str) -> str:
        scale, bias = self.weight(f"{name}.weight", DIMENSION), self.weight(f"{name}.bias", DIMENSION)
        return self.node("LayerNormalization", rows, scale, bias, axis=-1, epsilon=EPSILON)

    def _constant(self, name: str, values: Sequence[float], *, integers: bool) -> str:
        from onnx import TensorProto, helper

        if name not in self._known:
            self._known.add(name)
            kind = TensorProto.INT64 if integers else TensorProto.FLOAT
            dims = [len(values)] if integers else []
            self.initializers.append(helper.make_tensor(name, kind, dims, list(values)))
        return name

    def _external(self, name: str, shape: tuple[int, ...]) -> TensorProto:
        from onnx import StringStringEntryProto, TensorProto

        found = self._tensors.get(name)
        if found is None or found.shape != shape:
            had = "none" if found is None else str(found.shape)
            raise NotSupported(f"the weights are not those of all-MiniLM-L6-v2: {name} should be {shape}, found {had}")
        place = {"location": self._file, "offset": str(found.offset), "length": str(found.length)}
        return TensorProto(
            name=name,
            dims=shape,
            data_type=TensorProto.FLOAT,
            data_location=TensorProto.EXTERNAL,
            external_data=[StringStringEntryProto(key=key, value=value) for key, value in place.items()],
        )


def _encoder(graph: _Graph) -> str:
    mask = graph.node("Cast", ATTENTION_MASK, to=1)
    padding = graph.node("Sub", mask, graph.scalar("one", 1.0))
    bias = graph.node("Mul", padding, graph.scalar("unmasked_to_masked", -MASKED))
    bias = graph.node("Unsqueeze", bias, graph.ints("axes_1_2", 1, 2))
    rows = _embedded(graph)
    for layer in range(LAYERS):
        rows = _layer(graph, rows, bias, f"encoder.layer.{layer}")
    return rows


def _embedded(graph: _Graph) -> str:
    """Word, position and type embeddings summed; the type is always 0, the position counts from 0."""
    ids = graph.node("Reshape", INPUT_IDS, graph.ints("flat", -1))
    words = graph.node("Gather", graph.weight("embeddings.word_embeddings.weight", 30522, DIMENSION), ids)
    words = graph.node("Reshape", words, graph.node("Concat", _shape(graph), graph.ints("hidden", DIMENSION), axis=0))
    positions = graph.node(
        "Slice",
        graph.weight("embeddings.position_embeddings.weight", 512, DIMENSION),
        graph.ints("zero", 0),
        graph.node("Shape", INPUT_IDS, start=1, end=2),
        graph.ints("zero", 0),
    )
    kind = graph.node(
        "Gather", graph.weight("embeddings.token_type_embeddings.weight", 2, DIMENSION), graph.ints("zero", 0)
    )
    total = graph.node("Add", graph.node("Add", words, positions), kind)
    rows = graph.node("Reshape", total, graph.ints("rows", -1, DIMENSION))
    return graph.normalized(rows, "embeddings.LayerNorm")


def _shape(graph: _Graph) -> str:
    return graph.node("Shape", INPUT_IDS)


def _layer(graph: _Graph, rows: str, bias: str, name: str) -> str:
    attended = _attention(graph, rows, bias, f"{name}.attention.self")
    attended = graph.linear(attended, f"{name}.attention.output.dense", DIMENSION, DIMENSION)
    rows = graph.normalized(graph.node("Add", attended, rows), f"{name}.attention.output.LayerNorm")
    wide = graph.node("Gelu", graph.linear(rows, f"{name}.intermediate.dense", DIMENSION, INTERMEDIATE))
    narrow = graph.linear(wide, f"{name}.output.dense", INTERMEDIATE, DIMENSION)
    return graph.normalized(graph.node("Add", narrow, rows), f"{name}.output.LayerNorm")


def _attention(graph: _Graph, rows: str, bias: str, name: str) -> str:
    split = graph.node("Concat", _shape(graph), graph.ints("heads", HEADS, HEAD_SIZE), axis=0)

    def by_head(part: str, order: Sequence[int]) -> str:
        projected = graph.linear(rows, f"{name}.{part}", DIMENSION, DIMENSION)
        return graph.node("Transpose", graph.node("Reshape", projected, split), perm=order)

    queries, keys, values = by_head("query", [0, 2, 1, 3]), by_head("key", [0, 2, 3, 1]), by_head("value", [0, 2, 1, 3])
    scaled = graph.node("Mul", graph.node("MatMul", queries, keys), graph.scalar("scale", HEAD_SIZE**-0.5))
    chances = graph.node("Softmax", graph.node("Add", scaled, bias), axis=-1)
    mixed = graph.node("Transpose", graph.node("MatMul", chances, values), perm=[0, 2, 1, 3])
    return graph.node("Reshape", mixed, graph.ints("rows", -1, DIMENSION))


def _pooled(graph: _Graph, rows: str) -> str:
    """The mean over real tokens, scaled to length one."""
    tokens = graph.node("Reshape", rows, graph.node("Concat", _shape(graph), graph.ints("hidden", DIMENSION), axis=0))
    mask = graph.node("Unsqueeze", graph.node("Cast", ATTENTION_MASK, to=1), graph.ints("axis_2", 2))
    total = graph.node("ReduceSum", graph.node("Mul", tokens, mask), graph.ints("axis_1", 1), keepdims=0)
    # The sum stands for the mean: dividing by the token count changes the length alone, which is undone next.
    return graph.node("LpNormalization", total, output=EMBEDDING, axis=-1, p=2)
