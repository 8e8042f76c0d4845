// Captions a picture, says how well texts fit it, and asks about it.
//
// usage: describe MODEL PICTURE
//
// BLIP_LIBRARY is the path of libblip.so, where the loader does not find it.
package main

import (
	"fmt"
	"os"
)

func describe(model, picture string) error {
	library := os.Getenv("BLIP_LIBRARY")
	if library == "" {
		library = "libblip.so.0"
	}
	if err := open(library); err != nil {
		return err
	}
	s, err := load(model)
	if err != nil {
		return err
	}
	defer s.close()
	encoded, err := s.encode(picture)
	if err != nil {
		return err
	}
	defer blipEncodedFree(encoded)
	caption, err := s.caption(encoded)
	if err != nil {
		return err
	}
	fmt.Println("caption:", caption)
	texts := []string{"a cat to the left of a bus", "a cat to the right of a bus"}
	probabilities, err := s.match(encoded, texts)
	if err != nil {
		return err
	}
	for i, text := range texts {
		fmt.Printf("match: %.4f %s\n", probabilities[i], text)
	}
	questions := []string{"what is to the right of the cat?", "what color is the background?"}
	answers, err := s.ask(encoded, questions)
	if err != nil {
		return err
	}
	for i, question := range questions {
		fmt.Println("answer:", question, answers[i])
	}
	return nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: describe MODEL PICTURE")
		os.Exit(2)
	}
	if err := describe(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "describe:", err)
		os.Exit(1)
	}
}
