//! A kernel's body: scopes, registers, labels, instructions.

use super::cursor::{Cursor, integer};
use super::variable::{variable, width_of};
use super::{Class, Instruction, Kernel, Operand, Statement};
use std::collections::HashMap;

/// Registers declared in one pair of braces.
#[derive(Default)]
struct Scope {
    /// Registers with a name of their own.
    single: HashMap<String, u32>,
    /// `%r<59>`: prefix, first register, how many.
    many: HashMap<String, (u32, u32)>,
}

/// Reads `{ … }` into `kernel`.
pub(crate) fn parse(cursor: &mut Cursor<'_>, kernel: &mut Kernel) -> Result<(), String> {
    let mut scopes: Vec<Scope> = Vec::new();
    loop {
        match cursor.peek() {
            "{" => {
                cursor.next();
                scopes.push(Scope::default());
            }
            "}" => {
                cursor.next();
                scopes.pop();
                if scopes.is_empty() {
                    return Ok(());
                }
            }
            ".reg" => registers(cursor, kernel, scopes.last_mut().ok_or("no scope")?)?,
            ".shared" | ".local" => kernel.variables.push(variable(cursor)?),
            ".loc" => cursor.skip_line(),
            ".pragma" => {
                cursor.next();
                cursor.next();
                cursor.expect(";")?;
            }
            "" => return Err(format!("kernel {} has no end", kernel.name)),
            _ if cursor.after() == ":" => {
                let name = cursor.next().to_owned();
                cursor.next();
                if cursor.take(".branchtargets") {
                    let mut targets = vec![cursor.next().to_owned()];
                    while cursor.take(",") {
                        targets.push(cursor.next().to_owned());
                    }
                    cursor.expect(";")?;
                    kernel.body.push(Statement::Targets(name, targets));
                } else {
                    kernel.body.push(Statement::Label(name));
                }
            }
            _ => {
                let instruction = instruction(cursor, &scopes)?;
                kernel.body.push(Statement::Instruction(instruction));
            }
        }
    }
}

fn registers(
    cursor: &mut Cursor<'_>,
    kernel: &mut Kernel,
    scope: &mut Scope,
) -> Result<(), String> {
    cursor.expect(".reg")?;
    let kind = cursor.next();
    let class = match width_of(kind) {
        _ if kind == ".pred" => Class::Predicate,
        Some(8) => Class::Double,
        Some(_) => Class::Word,
        None => return Err(format!("line {}: register type {kind}", cursor.line())),
    };
    loop {
        let name = cursor.next().to_owned();
        let first = kernel.registers.len() as u32;
        let mut count = 1;
        if cursor.take("<") {
            count = cursor.integer()? as u32;
            cursor.expect(">")?;
            scope.many.insert(name, (first, count));
        } else {
            scope.single.insert(name, first);
        }
        kernel.registers.resize(kernel.registers.len() + count as usize, class);
        if !cursor.take(",") {
            return cursor.expect(";");
        }
    }
}

fn find(scopes: &[Scope], name: &str) -> Option<u32> {
    let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name[prefix.len()..].parse::<u32>().ok();
    scopes.iter().rev().find_map(|scope| {
        let among = || {
            let (first, count) = scope.many.get(prefix)?;
            number.filter(|number| number < count).map(|number| first + number)
        };
        scope.single.get(name).copied().or_else(among)
    })
}

fn instruction(cursor: &mut Cursor<'_>, scopes: &[Scope]) -> Result<Instruction, String> {
    let line = cursor.line();
    let mut guard = None;
    if cursor.take("@") {
        let negated = cursor.take("!");
        let register =
            find(scopes, cursor.peek()).ok_or_else(|| cursor.unexpected("a predicate"))?;
        cursor.next();
        guard = Some((register, negated));
    }
    let opcode = cursor.next().to_owned();
    let mut operands = Vec::new();
    while !cursor.take(";") {
        operands.push(operand(cursor, scopes)?);
        if !cursor.take(",") && cursor.peek() != ";" {
            return Err(format!("line {line}: {opcode}: {}", cursor.unexpected(";")));
        }
    }
    Ok(Instruction { guard, opcode, operands, line })
}

fn operand(cursor: &mut Cursor<'_>, scopes: &[Scope]) -> Result<Operand, String> {
    if cursor.take("{") {
        let mut parts = Vec::new();
        while !cursor.take("}") {
            parts.push(operand(cursor, scopes)?);
            cursor.take(",");
        }
        return Ok(Operand::Vector(parts));
    }
    if cursor.take("[") {
        let base = operand(cursor, scopes)?;
        let (base, mut offset) = match base {
            Operand::Symbol(name, offset) => (Operand::Symbol(name, 0), offset),
            other => (other, 0),
        };
        if cursor.take("+") {
            offset += cursor.integer()? as i64;
        }
        cursor.expect("]")?;
        return Ok(Operand::Address(Box::new(base), offset));
    }
    if cursor.take("!") {
        let register =
            find(scopes, cursor.peek()).ok_or_else(|| cursor.unexpected("a predicate"))?;
        cursor.next();
        return Ok(Operand::NotRegister(register));
    }
    if cursor.peek() == "-" {
        return Ok(Operand::Integer(cursor.integer()?));
    }
    let text = cursor.peek();
    if text == "_" {
        cursor.next();
        return Ok(Operand::Nothing);
    }
    if let Some(register) = find(scopes, text) {
        cursor.next();
        if cursor.take("|") {
            let second =
                find(scopes, cursor.peek()).ok_or_else(|| cursor.unexpected("a predicate"))?;
            cursor.next();
            return Ok(Operand::Pair(register, second));
        }
        return Ok(Operand::Register(register));
    }
    let operand = if let Some(bits) =
        text.strip_prefix("0f").and_then(|hex| u32::from_str_radix(hex, 16).ok())
    {
        Operand::Float(bits)
    } else if let Some(bits) =
        text.strip_prefix("0d").and_then(|hex| u64::from_str_radix(hex, 16).ok())
    {
        Operand::Double(bits)
    } else if let Some(value) = integer(text) {
        Operand::Integer(value)
    } else if text.starts_with('%') {
        Operand::Special(text.to_owned())
    } else if text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '$') {
        Operand::Symbol(text.to_owned(), 0)
    } else {
        return Err(cursor.unexpected("an operand"));
    };
    cursor.next();
    if let Operand::Symbol(name, _) = &operand
        && cursor.peek() == "+"
    {
        cursor.next();
        return Ok(Operand::Symbol(name.clone(), cursor.integer()? as i64));
    }
    Ok(operand)
}
