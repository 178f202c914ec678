//! Modules that are refused when loaded: nothing that is not understood is skipped.

use crate::device::{Device, Outcome, child, context, kernel};
use cuda_emulator::Settings;
use cudarc::driver::result;
use cudarc::driver::sys::CUresult::{
    CUDA_ERROR_INVALID_IMAGE, CUDA_ERROR_INVALID_PTX, CUDA_ERROR_NOT_FOUND,
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
};
use cudarc::nvrtc::Ptx;

fn load(text: &str) -> Outcome<()> {
    context().load_module(Ptx::from_src(text)).map(drop).map_err(|error| error.0)
}

/// Instructions that hardware knows and this driver does not, or that nobody knows.
const UNKNOWN: [&str; 16] = [
    "frobnicate.b32 %r1, %r2",
    "mul24.lo.u32 %r1, %r2, %r3",
    "add.cc.u32 %r1, %r2, %r3",
    "add.rn.f16 %h1, %h2, %h3",
    "add.u7 %r1, %r2, %r3",
    "ld.global.b128 %rd1, [%a0]",
    "ld.texture.u32 %r1, [%a0]",
    "atom.global.add.noftz.f16 %h1, [%a0], %h2",
    "shfl.up.b32 %r1, %r2, 1, 0",
    "bar.sync 1",
    "bar.arrive 0, 64",
    "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r1, %r2}, {%r3}, {%r4}, {%r5}",
    "wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%r1}, [%a0], %r2",
    "cp.async.bulk.shared::cluster.global.mbarrier [%r1], [%a0], 16, [%r2]",
    "mov.u64 %rd1, %clock64",
    "prefetch.global.L2 [%a0]",
];

#[test]
fn an_unknown_opcode_or_form_is_refused_with_its_line() {
    let Some(said) = child(Settings::default(), || {
        for unknown in UNKNOWN {
            let text = kernel(1, &format!("add.u32 %r1, %r1, 1;\n{unknown};"));
            assert_eq!(load(&text), Err(CUDA_ERROR_INVALID_PTX), "{unknown}");
        }
    }) else {
        return;
    };
    let text = kernel(1, "add.u32 %r1, %r1, 1;\nHERE");
    let line = text.lines().position(|line| line == "HERE").unwrap() + 1;
    for unknown in UNKNOWN {
        let opcode = unknown.split(' ').next().unwrap();
        let named = format!("module refused: line {line}: {opcode}:");
        assert!(said.contains(&named), "{named}\n{said}");
    }
    assert_eq!(load(&kernel(1, "add.u32 %r1, %r1, 1;")), Ok(()));
}

/// An opcode in code that no thread reaches counts, too.
#[test]
fn an_unknown_opcode_nobody_runs_is_refused_all_the_same() {
    let Some(said) = child(Settings::default(), || {
        assert_eq!(load(&kernel(0, "ret;\nfrobnicate;")), Err(CUDA_ERROR_INVALID_PTX));
    }) else {
        return;
    };
    assert!(said.contains("frobnicate: unknown opcode"), "{said}");
}

/// Wrong instructions, and the messages about them.
const WRONG: [(&str, &str); 8] = [
    ("add.u32 %r1, %rd1, %r2;", "where a Word register should be"),
    ("add.u32 %rd1, %r1, %r2;", "where a Word result should be"),
    ("add.u32 %r1, %r2;", "1 operands where 2 should be"),
    ("add.u32 %r1, %r2, %r99;", "%r99 is unknown here"),
    ("bra.uni nowhere;", "no label nowhere"),
    ("ld.global.v2.u32 {%r1}, [%a0];", "1 values where 2 should be"),
    ("mov.u32 %r1, undeclared;", "undeclared is not declared"),
    ("add.u32 %r1 %r2, %r3;", "where \";\" should be"),
];

#[test]
fn operands_that_do_not_fit_are_refused() {
    let Some(said) = child(Settings::default(), || {
        for (wrong, _) in WRONG {
            assert_eq!(load(&kernel(1, wrong)), Err(CUDA_ERROR_INVALID_PTX), "{wrong}");
        }
    }) else {
        return;
    };
    let refusals: Vec<&str> = said.lines().filter(|line| line.contains("refused")).collect();
    assert_eq!(refusals.len(), WRONG.len(), "{said}");
    for ((_, why), refusal) in WRONG.iter().zip(refusals) {
        assert!(refusal.contains("refused: line ") && refusal.contains(why), "{refusal}");
    }
}

#[test]
fn declarations_that_are_not_understood_are_refused_with_their_line() {
    let Some(said) = child(Settings::default(), || {
        let function = kernel(0, "") + ".visible .func f() { ret; }\n";
        assert_eq!(load(&function), Err(CUDA_ERROR_INVALID_PTX));
        let shared = kernel(0, "").replace(".visible", ".shared .b8 outside[4];\n.visible");
        assert_eq!(load(&shared), Err(CUDA_ERROR_INVALID_PTX));
        assert_eq!(load("no PTX at all"), Err(CUDA_ERROR_INVALID_PTX));
    }) else {
        return;
    };
    assert!(
        said.contains(&format!("line {}: type .func", kernel(0, "").lines().count() + 1)),
        "{said}"
    );
    assert!(said.contains("outside: shared memory outside of a kernel"), "{said}");
    assert!(said.contains("line 1: \"no\" where \".version\" should be"), "{said}");
}

/// The rest of a newer text is not even looked at.
#[test]
fn ptx_newer_than_the_driver_is_an_unsupported_version() {
    let Some(said) = child(&Settings { ptx_version: 77, ..Settings::default() }, || {
        assert_eq!(load(&kernel(0, "")), Err(CUDA_ERROR_UNSUPPORTED_PTX_VERSION));
        let unknown =
            kernel(0, "frobnicate.b32 %r1;").replace(".target", ".directive of tomorrow\n.target");
        assert_eq!(load(&unknown), Err(CUDA_ERROR_UNSUPPORTED_PTX_VERSION));
        assert_eq!(load(&kernel(0, "").replace("7.8", "7.7")), Ok(()));
    }) else {
        return;
    };
    assert!(said.contains("PTX version 78, 77 is the newest"), "{said}");
}

#[test]
fn ptx_for_a_newer_architecture_is_refused() {
    let Some(said) = child(&Settings { arch: 86, ..Settings::default() }, || {
        for (arch, fits) in [("sm_75", true), ("sm_86", true), ("sm_89", false), ("sm_100", false)]
        {
            let loaded = load(&kernel(0, "").replace("sm_80", arch));
            assert_eq!(loaded, if fits { Ok(()) } else { Err(CUDA_ERROR_INVALID_PTX) }, "{arch}");
        }
    }) else {
        return;
    };
    assert!(said.contains("it is for sm_89, this is sm_86"), "{said}");
}

#[test]
fn machine_code_is_an_invalid_image() {
    let context = context();
    context.bind_to_thread().unwrap();
    for image in [b"\x7FELF\x02\x01\x01\x33", b"\x50\xED\x55\xBA\x01\0\x10\0"] {
        // SAFETY: no more than the first bytes tell that it is none.
        let loaded = unsafe { result::module::load_data(image.as_ptr().cast()) };
        assert_eq!(loaded.unwrap_err().0, CUDA_ERROR_INVALID_IMAGE);
    }
}

#[test]
fn a_kernel_that_is_not_there_is_not_found() {
    let module = context().load_module(Ptx::from_src(kernel(0, ""))).unwrap();
    assert_eq!(module.load_function("other").unwrap_err().0, CUDA_ERROR_NOT_FOUND);
    assert!(module.load_function("k").is_ok());
}

#[test]
fn variables_of_a_module_have_their_initial_values() {
    let body = "
        mov.u64 %rd1, given;
        ld.global.f32 %f1, [%rd1+4];
        ld.const.u16 %h1, [fixed+2];
        cvt.u32.u16 %r1, %h1;
        ld.global.u32 %r2, [empty];
        st.global.v4.u32 [%a0], {%r1, %r2, %r1, %r2};
        st.global.f32 [%a0+8], %f1;";
    let variables = ".global .align 4 .f32 given[2] = {0f3F800000, 0f40490FDB};\n\
        .const .align 2 .b16 fixed[2] = {1, 65535};\n.global .align 4 .u32 empty;\n.visible";
    let device = Device::of_ptx(kernel(1, body).replace(".visible", variables));
    let to = device.blank(16);
    device.launch("k", 1, 1, &[to]).unwrap();
    let pi = std::f32::consts::PI.to_bits();
    assert_eq!(device.download::<u32>(to, 4), Ok(vec![65535, 0, pi, 0]));
}
