//! A graph under construction.

use bytes::Bytes;

use super::proto;

/// Name of the dimension that counts pictures.
const BATCH: &str = "batch";

/// A value that a node computes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    /// Name of the value, which is that of its node.
    pub(super) name: String,
    /// Dimensions of one picture's values.
    pub(super) dims: Vec<usize>,
}

/// Nodes and tensors so far.
pub(super) struct Builder {
    graph: proto::Graph,
}

impl Builder {
    /// A graph without nodes.
    pub(super) fn new() -> Self {
        Self { graph: proto::Graph::default() }
    }

    /// Adds the input: bytes.
    pub(super) fn input(&mut self, name: &str, dims: &[usize]) -> Value {
        let value = Value { name: name.into(), dims: dims.into() };
        self.graph.input.push(info(&value, proto::UINT8));
        value
    }

    /// Adds a tensor of floats.
    pub(super) fn tensor(&mut self, name: String, dims: &[usize], raw_data: Bytes) {
        let dims = dims.iter().map(|n| *n as i64).collect();
        let tensor = proto::Tensor { dims, data_type: proto::FLOAT, name, raw_data };
        self.graph.initializer.push(tensor);
    }

    /// Adds a node; returns its value.
    pub(super) fn node<'a>(
        &mut self,
        operator: &str,
        name: &str,
        inputs: impl IntoIterator<Item = &'a Value>,
        dims: &[usize],
        attribute: Vec<proto::Attribute>,
    ) -> Value {
        let inputs = inputs.into_iter().map(|value| value.name.clone()).collect();
        self.weighted(operator, name, inputs, dims, attribute)
    }

    /// Adds a node whose inputs are values and tensors; returns its value.
    pub(super) fn weighted(
        &mut self,
        operator: &str,
        name: &str,
        input: Vec<String>,
        dims: &[usize],
        attribute: Vec<proto::Attribute>,
    ) -> Value {
        let value = Value { name: name.into(), dims: dims.into() };
        self.graph.node.push(proto::Node {
            input,
            output: vec![name.into()],
            name: name.into(),
            op_type: operator.into(),
            attribute,
        });
        self.graph.value_info.push(info(&value, proto::FLOAT));
        value
    }

    /// Joins the values of all columns, half A's first.
    pub(super) fn join(&mut self, name: &str, columns: &[Value]) -> Value {
        let mut dims = columns[0].dims.clone();
        dims[0] = columns.iter().map(|column| column.dims[0]).sum();
        match columns {
            [only] => self.node("Identity", name, [only], &dims, vec![]),
            columns => self.node("Concat", name, columns, &dims, vec![int("axis", 1)]),
        }
    }

    /// Makes values the outputs of the graph.
    pub(super) fn outputs<'a>(&mut self, values: impl IntoIterator<Item = &'a Value>) {
        for value in values {
            self.graph.value_info.retain(|info| info.name != value.name);
            self.graph.output.push(info(value, proto::FLOAT));
        }
    }

    /// The finished graph.
    pub(super) fn into_graph(self, name: &str) -> proto::Graph {
        proto::Graph { name: name.into(), ..self.graph }
    }
}

fn info(value: &Value, elem_type: i32) -> proto::ValueInfo {
    let batch = proto::Dimension { value: None, param: Some(BATCH.into()) };
    let sized = |n: &usize| proto::Dimension { value: Some(*n as i64), param: None };
    let dim = std::iter::once(batch).chain(value.dims.iter().map(sized)).collect();
    let tensor = proto::TensorType { elem_type, shape: Some(proto::Shape { dim }) };
    let kind = Some(proto::Type { tensor: Some(tensor) });
    proto::ValueInfo { name: value.name.clone(), kind, doc_string: String::new() }
}

/// An attribute with one whole number.
pub(super) fn int(name: &str, i: i64) -> proto::Attribute {
    let kind = proto::ATTRIBUTE_INT;
    proto::Attribute { name: name.into(), i: Some(i), kind, ..Default::default() }
}

/// An attribute with whole numbers.
pub(super) fn ints(name: &str, ints: impl IntoIterator<Item = usize>) -> proto::Attribute {
    let ints = ints.into_iter().map(|n| n as i64).collect();
    let kind = proto::ATTRIBUTE_INTS;
    proto::Attribute { name: name.into(), ints, kind, ..Default::default() }
}

/// An attribute with one float.
pub(super) fn float(name: &str, f: f64) -> proto::Attribute {
    let kind = proto::ATTRIBUTE_FLOAT;
    proto::Attribute { name: name.into(), f: Some(f as f32), kind, ..Default::default() }
}
