// Where libblip.so is: the folder in BLIP_LIB_DIR, else the linker's own places.
fn main() {
    println!("cargo:rerun-if-env-changed=BLIP_LIB_DIR");
    if let Ok(folder) = std::env::var("BLIP_LIB_DIR") {
        println!("cargo:rustc-link-search=native={folder}");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
