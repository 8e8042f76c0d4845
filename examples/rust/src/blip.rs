//! What this example needs of blip/c.h, and types that free what they own.
use std::ffi::{c_char, c_void, CStr, CString};
use std::ptr::{null, null_mut};

#[repr(C)]
struct Text {
    struct_size: u32,
    score: f32,
    text: *const c_char,
    text_bytes: usize,
    token_ids: *const i32,
    token_count: usize,
}

// Handles are opaque, options are left at their defaults: both are plain pointers here.
type Ptr = *mut c_void;

#[link(name = "blip")]
extern "C" {
    fn blip_abi_version() -> i32;
    fn blip_error_message(error: Ptr) -> *const c_char;
    fn blip_error_free(error: Ptr);
    fn blip_engine_load(
        path: *const c_char,
        options: Ptr,
        engine: *mut Ptr,
        error: *mut Ptr,
    ) -> i32;
    fn blip_engine_free(engine: Ptr);
    fn blip_session_new(engine: Ptr, options: Ptr, session: *mut Ptr, error: *mut Ptr) -> i32;
    fn blip_session_free(session: Ptr);
    fn blip_image_from_file(
        path: *const c_char,
        limits: Ptr,
        image: *mut Ptr,
        error: *mut Ptr,
    ) -> i32;
    fn blip_image_free(image: Ptr);
    fn blip_session_encode(
        session: Ptr,
        images: *const Ptr,
        count: usize,
        encoded: *mut Ptr,
        error: *mut Ptr,
    ) -> i32;
    fn blip_encoded_free(encoded: Ptr);
    fn blip_session_caption(
        session: Ptr,
        images: *const Ptr,
        count: usize,
        options: Ptr,
        captions: *mut Ptr,
        error: *mut Ptr,
    ) -> i32;
    fn blip_session_ask(
        session: Ptr,
        image: Ptr,
        questions: *const *const c_char,
        count: usize,
        options: Ptr,
        answers: *mut Ptr,
        error: *mut Ptr,
    ) -> i32;
    fn blip_generations_at(generations: Ptr, input: usize, rank: usize) -> *const Text;
    fn blip_generations_free(generations: Ptr);
    fn blip_session_match(
        session: Ptr,
        image: Ptr,
        texts: *const *const c_char,
        count: usize,
        options: Ptr,
        matches: *mut Ptr,
        error: *mut Ptr,
    ) -> i32;
    fn blip_matches_probabilities(matches: Ptr) -> *const f32;
    fn blip_matches_free(matches: Ptr);
}

const ABI_VERSION: i32 = 0;

/// A handle and what frees it.
struct Handle(Ptr, unsafe extern "C" fn(Ptr));

impl Drop for Handle {
    fn drop(&mut self) {
        unsafe { (self.1)(self.0) }
    }
}

/// Calls a function that leaves a handle or an error.
fn made(
    free: unsafe extern "C" fn(Ptr),
    call: impl FnOnce(*mut Ptr, *mut Ptr) -> i32,
) -> Result<Handle, String> {
    let (mut handle, mut error) = (null_mut(), null_mut());
    if call(&mut handle, &mut error) == 0 {
        return Ok(Handle(handle, free));
    }
    unsafe {
        let message = CStr::from_ptr(blip_error_message(error))
            .to_string_lossy()
            .into_owned();
        blip_error_free(error);
        Err(message)
    }
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} holds a zero byte"))
}

fn c_strings(texts: &[&str]) -> Result<Vec<CString>, String> {
    texts.iter().map(|text| c_string(text)).collect()
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).collect()
}

pub struct Session {
    session: Handle,
    _engine: Handle,
}

pub struct Picture(Handle);

impl Session {
    pub fn load(model: &str) -> Result<Session, String> {
        if unsafe { blip_abi_version() } != ABI_VERSION {
            return Err("libblip has another ABI version than this program".to_string());
        }
        let path = c_string(model)?;
        let engine = made(blip_engine_free, |out, error| unsafe {
            blip_engine_load(path.as_ptr(), null_mut(), out, error)
        })?;
        let session = made(blip_session_free, |out, error| unsafe {
            blip_session_new(engine.0, null_mut(), out, error)
        })?;
        Ok(Session {
            session,
            _engine: engine,
        })
    }

    // Sessions work for one call at a time: &mut.
    pub fn encode(&mut self, path: &str) -> Result<Picture, String> {
        let path = c_string(path)?;
        let image = made(blip_image_free, |out, error| unsafe {
            blip_image_from_file(path.as_ptr(), null_mut(), out, error)
        })?;
        let encode = |out: *mut Ptr, error| unsafe {
            blip_session_encode(self.session.0, &image.0, 1, out, error)
        };
        made(blip_encoded_free, encode).map(Picture)
    }

    pub fn caption(&mut self, picture: &Picture) -> Result<String, String> {
        let call = |out, error| unsafe {
            blip_session_caption(self.session.0, &picture.0 .0, 1, null_mut(), out, error)
        };
        Ok(text_of(&made(blip_generations_free, call)?, 0))
    }

    pub fn matches(&mut self, picture: &Picture, texts: &[&str]) -> Result<Vec<f32>, String> {
        let owned = c_strings(texts)?;
        let list = pointers(&owned);
        let call = |out, error| unsafe {
            blip_session_match(
                self.session.0,
                picture.0 .0,
                list.as_ptr(),
                list.len(),
                null_mut(),
                out,
                error,
            )
        };
        let matches = made(blip_matches_free, call)?;
        Ok(unsafe {
            std::slice::from_raw_parts(blip_matches_probabilities(matches.0), texts.len())
        }
        .to_vec())
    }

    pub fn ask(&mut self, picture: &Picture, questions: &[&str]) -> Result<Vec<String>, String> {
        let owned = c_strings(questions)?;
        let list = pointers(&owned);
        let call = |out, error| unsafe {
            blip_session_ask(
                self.session.0,
                picture.0 .0,
                list.as_ptr(),
                list.len(),
                null_mut(),
                out,
                error,
            )
        };
        let answers = made(blip_generations_free, call)?;
        Ok((0..questions.len()).map(|i| text_of(&answers, i)).collect())
    }
}

fn text_of(generations: &Handle, input: usize) -> String {
    unsafe {
        let text = blip_generations_at(generations.0, input, 0);
        assert!(text != null());
        CStr::from_ptr((*text).text).to_string_lossy().into_owned()
    }
}
