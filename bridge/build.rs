//! Puts the portal, as `scripts/portal` has built it, into the binary: each file as it is and packed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let portal = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("portal/dist");
    println!("cargo:rerun-if-changed={}", portal.display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let pages = ["index.html", "me.html"].map(|page| portal.join(page));
    if !pages.iter().all(|page| page.exists()) {
        return Err("the portal is not built: run `make build` once, or scripts/portal".into());
    }
    let mut table = String::from("&[\n");
    let mut files = pages.to_vec();
    let assets =
        fs::read_dir(portal.join("assets"))?.map(|e| Ok(e?.path())).collect::<Result<Vec<_>, Failed>>()?;
    files.extend(assets);
    files.sort();
    for file in files {
        let name = file.file_name().and_then(|n| n.to_str()).ok_or("a name that is no text")?;
        let packed = out.join(format!("{name}.gz"));
        pack(&file, &packed)?;
        table += &format!("    ({name:?}, include_bytes!({file:?}), include_bytes!({packed:?})),\n");
    }
    table += "]";
    fs::write(out.join("portal.rs"), table)?;
    Ok(())
}

fn pack(from: &Path, to: &Path) -> Result<(), Failed> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&fs::read(from)?)?;
    fs::write(to, packer.finish()?)?;
    Ok(())
}
