package main

// What this example needs of blip/c.h, without cgo: purego loads the library while the program
// runs.

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

const abiVersion = 0

// The record blip_text.
type text struct {
	structSize uint32
	score      float32
	text       *byte
	textBytes  uintptr
	tokenIDs   *int32
	tokenCount uintptr
}

// Handles are opaque, options are left at their defaults: both are plain pointers here.
type pointer = unsafe.Pointer

var (
	blipABIVersion    func() int32
	blipErrorMessage  func(err pointer) string
	blipErrorFree     func(err pointer)
	blipEngineLoad    func(path string, options pointer, engine, err *pointer) int32
	blipEngineFree    func(engine pointer)
	blipSessionNew    func(engine, options pointer, session, err *pointer) int32
	blipSessionFree   func(session pointer)
	blipImageFromFile func(path string, limits pointer, image, err *pointer) int32
	blipImageFree     func(image pointer)
	blipSessionEncode func(session pointer, images *pointer, count uintptr,
		encoded, err *pointer) int32
	blipEncodedFree    func(encoded pointer)
	blipSessionCaption func(session pointer, images *pointer, count uintptr,
		options pointer, captions, err *pointer) int32
	blipSessionAsk func(session, image pointer, questions **byte, count uintptr,
		options pointer, answers, err *pointer) int32
	blipGenerationsAt   func(generations pointer, input, rank uintptr) *text
	blipGenerationsFree func(generations pointer)
	blipSessionMatch    func(session, image pointer, texts **byte, count uintptr,
		options pointer, matches, err *pointer) int32
	blipMatchesProbabilities func(matches pointer) *float32
	blipMatchesFree          func(matches pointer)
)

// open loads libblip.so from a path, or by name from where the loader looks.
func open(library string) error {
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return err
	}
	for name, function := range map[string]any{
		"blip_abi_version":   &blipABIVersion,
		"blip_error_message": &blipErrorMessage, "blip_error_free": &blipErrorFree,
		"blip_engine_load": &blipEngineLoad, "blip_engine_free": &blipEngineFree,
		"blip_session_new": &blipSessionNew, "blip_session_free": &blipSessionFree,
		"blip_image_from_file": &blipImageFromFile, "blip_image_free": &blipImageFree,
		"blip_session_encode": &blipSessionEncode, "blip_encoded_free": &blipEncodedFree,
		"blip_session_caption": &blipSessionCaption, "blip_session_ask": &blipSessionAsk,
		"blip_generations_at": &blipGenerationsAt, "blip_generations_free": &blipGenerationsFree,
		"blip_session_match": &blipSessionMatch, "blip_matches_probabilities": &blipMatchesProbabilities,
		"blip_matches_free": &blipMatchesFree,
	} {
		purego.RegisterLibFunc(function, handle, name)
	}
	if version := blipABIVersion(); version != abiVersion {
		return fmt.Errorf("%s has ABI version %d, this program needs %d", library, version, abiVersion)
	}
	return nil
}

// check turns a status into an error. The message is an object, not a thread's: goroutines may move
// in between.
func check(status int32, err pointer) error {
	if status == 0 {
		return nil
	}
	defer blipErrorFree(err)
	return errors.New(blipErrorMessage(err))
}

// cStrings returns what C reads as `const char* const*`; it lives while the result is reachable.
func cStrings(texts []string) []*byte {
	list := make([]*byte, len(texts))
	for i, t := range texts {
		bytes := append([]byte(t), 0)
		list[i] = &bytes[0]
	}
	return list
}

func first(list []*byte) **byte {
	if len(list) == 0 {
		return nil
	}
	return &list[0]
}

func goString(t *text) string { return string(unsafe.Slice(t.text, t.textBytes)) }

type session struct{ engine, handle pointer }

func load(model string) (*session, error) {
	var s session
	var err pointer
	if e := check(blipEngineLoad(model, nil, &s.engine, &err), err); e != nil {
		return nil, e
	}
	if e := check(blipSessionNew(s.engine, nil, &s.handle, &err), err); e != nil {
		blipEngineFree(s.engine)
		return nil, e
	}
	return &s, nil
}

func (s *session) close() {
	blipSessionFree(s.handle)
	blipEngineFree(s.engine)
}

// encode reads a picture and runs the vision tower; the caller frees the result with
// blipEncodedFree.
func (s *session) encode(path string) (pointer, error) {
	var image, encoded, err pointer
	if e := check(blipImageFromFile(path, nil, &image, &err), err); e != nil {
		return nil, e
	}
	defer blipImageFree(image)
	return encoded, check(blipSessionEncode(s.handle, &image, 1, &encoded, &err), err)
}

func (s *session) caption(encoded pointer) (string, error) {
	var captions, err pointer
	if e := check(blipSessionCaption(s.handle, &encoded, 1, nil, &captions, &err), err); e != nil {
		return "", e
	}
	defer blipGenerationsFree(captions)
	return goString(blipGenerationsAt(captions, 0, 0)), nil
}

func (s *session) match(encoded pointer, texts []string) ([]float32, error) {
	var matches, err pointer
	list := cStrings(texts)
	status := blipSessionMatch(s.handle, encoded, first(list), uintptr(len(list)), nil, &matches, &err)
	runtime.KeepAlive(list)
	if e := check(status, err); e != nil {
		return nil, e
	}
	defer blipMatchesFree(matches)
	return append([]float32(nil), unsafe.Slice(blipMatchesProbabilities(matches), len(texts))...), nil
}

func (s *session) ask(encoded pointer, questions []string) ([]string, error) {
	var answers, err pointer
	list := cStrings(questions)
	status := blipSessionAsk(s.handle, encoded, first(list), uintptr(len(list)), nil, &answers, &err)
	runtime.KeepAlive(list)
	if e := check(status, err); e != nil {
		return nil, e
	}
	defer blipGenerationsFree(answers)
	result := make([]string, len(questions))
	for i := range result {
		result[i] = goString(blipGenerationsAt(answers, uintptr(i), 0))
	}
	return result, nil
}
