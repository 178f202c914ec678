//! Comparison of a file's tensors with those of the network: every difference is named, not only
//! the first.

use model::halves::Plan;
use model::params::Param;

use super::found::{Found, Tensor};
use crate::print;

/// A sentence for each thing in the file that does not fit.
pub(super) fn problems(found: &Found, whole: &Plan) -> Vec<String> {
    let mut problems = Vec::new();
    for param in whole.params() {
        match found.tensors.get(&param.name) {
            None => problems.push(format!("{} is missing: {}", param.name, wanted(param))),
            Some(tensor) => problems.extend(misfit(tensor, param)),
        }
    }
    let known: Vec<&str> = whole.params().map(|param| param.name.as_str()).collect();
    for (name, tensor) in &found.tensors {
        if !known.contains(&name.as_str()) {
            let name = print::visible(name);
            problems.push(format!("{name}, of shape {:?}, belongs to no layer", tensor.shape));
        }
    }
    problems
}

/// The shape that a parameter has in the whole network.
fn shape(param: &Param) -> Vec<usize> {
    let mut shape = param.shape.clone();
    shape[0] = param.of_rows;
    shape
}

fn wanted(param: &Param) -> String {
    format!("expected F32 {:?}", shape(param))
}

/// The way in which a tensor differs from its parameter.
fn misfit(tensor: &Tensor, param: &Param) -> Option<String> {
    let (name, wanted) = (&param.name, wanted(param));
    let values = match &tensor.values {
        Err(kind) => return Some(format!("{name} is {kind} {:?}, {wanted}", tensor.shape)),
        Ok(_) if tensor.shape != shape(param) => {
            return Some(format!("{name} is F32 {:?}, {wanted}", tensor.shape));
        }
        Ok(values) => values,
    };
    let numbers = tensor.shape.iter().product::<usize>();
    if values.len() != 4 * numbers {
        let n = values.len() / 4;
        return Some(format!("{name} has {n} numbers, its shape says {numbers}"));
    }
    let mut values = values.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let bad = values.position(|value| !value.is_finite())?;
    Some(format!("{name} holds a number that isn't finite, at position {bad}"))
}
