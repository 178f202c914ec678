//! The kernels: embedded as text, compiled by NVRTC for the device found, kept on disk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, CudaModule, DriverError, sys};
use cudarc::nvrtc::Ptx;
use tracing::debug;

use super::compile::{Compiled, Compiler};
use super::{cache, explain, fault, libraries};
use crate::error::{Error, Result};

/// One file of `gpu-worker/kernels`, and the kernels it defines.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The file's name without `.cu`.
    pub name: &'static str,
    /// Text that precedes it: other files of the same folder.
    pub prelude: &'static [(&'static str, &'static str)],
    /// Text of the file.
    pub source: &'static str,
    /// Names of the kernels that it defines.
    pub kernels: &'static [&'static str],
}

macro_rules! program {
    ($name:literal: $($kernel:literal)+) => { program!($name after: $($kernel)+) };
    ($name:literal after $($prelude:literal)*: $($kernel:literal)+) => {
        Program {
            name: $name,
            prelude: &[$(($prelude, include_str!(concat!("../../../kernels/", $prelude, ".cu")))),*],
            source: include_str!(concat!("../../../kernels/", $name, ".cu")),
            kernels: &[$($kernel),+],
        }
    };
}

/// Every program of the worker.
pub const PROGRAMS: &[Program] = &[
    program!("input": "input"),
    program!("conv" after "gemm_tile" "epilogue":
        "conv_layout" "conv_weights" "conv_forward" "conv_channels_last" "conv_backward_weights"),
    program!("fc" after "gemm_tile": "fc_forward" "fc_backward_inputs" "fc_backward_weights"),
    program!("reduce" after "epilogue": "reduce_outputs" "reduce_weights"),
    program!("bias": "bias_backward_maps" "bias_backward_units"),
    program!("activation": "relu_forward" "relu_backward" "tanh_forward" "tanh_backward"),
    program!("lrn": "lrn_forward" "lrn_backward"),
    program!("pool": "pool_forward" "pool_backward"),
    program!("dropout" after "philox": "dropout"),
    program!("scale": "scale"),
    program!("add": "add"),
    program!("softmax": "softmax"),
    program!("sgd": "sgd"),
    program!("transfer": "transfer_largest" "transfer_f32_to_f16" "transfer_f16_to_f32"),
];

impl Program {
    /// The whole text that NVRTC gets; files in `folder` take the place of those built in.
    ///
    /// # Errors
    /// [`Error::System`] if `folder` is given and a file can't be read there.
    pub fn text(&self, folder: Option<&Path>) -> Result<String> {
        let file = |name: &str, built_in: &str| match folder {
            None => Ok(built_in.to_owned()),
            Some(folder) => std::fs::read_to_string(folder.join(format!("{name}.cu")))
                .map_err(|why| Error::System { doing: "reading a kernel", why }),
        };
        let mut text = String::new();
        for (name, built_in) in self.prelude.iter().chain([&(self.name, self.source)]) {
            text.push_str(&file(name, built_in)?);
        }
        Ok(text)
    }
}

/// All kernels, loaded on a device.
#[derive(Debug)]
pub(super) struct Programs(HashMap<&'static str, CudaFunction>);

impl Programs {
    /// Compiles what the cache does not hold and loads everything.
    pub(super) fn load(
        context: &Arc<CudaContext>,
        device: &str,
        compiler: &Compiler,
        cache: Option<&Path>,
        folder: Option<&Path>,
    ) -> Result<Self> {
        let mut functions = HashMap::new();
        for program in PROGRAMS {
            let text = program.text(folder)?;
            let compiled = cache::compiled(cache, compiler, program.name, &text)?;
            let module = load(context, device, compiler, program.name, compiled)?;
            for kernel in program.kernels {
                let function = module.load_function(kernel).map_err(fault(device, kernel))?;
                functions.insert(*kernel, function);
            }
        }
        Ok(Self(functions))
    }

    pub(super) fn function(&self, name: &'static str) -> &CudaFunction {
        self.0.get(name).expect("launchers name kernels of the list above; a test compares them")
    }
}

/// Loads the device's own code, or else lets the driver compile the PTX.
fn load(
    context: &Arc<CudaContext>,
    device: &str,
    compiler: &Compiler,
    name: &'static str,
    compiled: Compiled,
) -> Result<Arc<CudaModule>> {
    if let Some(cubin) = compiled.cubin {
        match context.load_module(Ptx::from_binary(cubin)) {
            Ok(module) => return Ok(module),
            Err(why) => debug!(program = name, why = %why, "no device code, the driver compiles"),
        }
    }
    context.load_module(Ptx::from_src(compiled.ptx)).map_err(|why| {
        if !is_refusal(why) {
            return fault(device, name)(why);
        }
        Error::DeviceUnusable { device: device.into(), why: refusal(name, compiler, why) }
    })
}

/// Whether the driver refuses the code for good: trying again gives the same answer.
fn is_refusal(why: DriverError) -> bool {
    use sys::CUresult as Code;
    matches!(
        why.0,
        Code::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
            | Code::CUDA_ERROR_INVALID_PTX
            | Code::CUDA_ERROR_INVALID_IMAGE
            | Code::CUDA_ERROR_NO_BINARY_FOR_GPU
            | Code::CUDA_ERROR_JIT_COMPILER_NOT_FOUND
            | Code::CUDA_ERROR_JIT_COMPILATION_DISABLED
    )
}

fn refusal(name: &str, compiler: &Compiler, why: DriverError) -> String {
    let driver = libraries::driver_version();
    let of = driver.map(|version| format!(" (CUDA {version})")).unwrap_or_default();
    format!(
        "the driver{of} refuses {name}.cu as NVRTC {} compiled it ({}); install a newer driver, \
         or an NVRTC that is not newer than the driver: {}",
        compiler.version(),
        explain(why),
        libraries::install_nvrtc(driver)
    )
}
