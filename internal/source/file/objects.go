package file

import (
	"bytes"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// Object is what a manifest says of one object, and where.
type Object struct {
	Value any // of the model
	File  string
	node  *yaml.Node
}

// Line is where the field at path is written, or the nearest thing around it that
// is: "spec.rules[0].http", "metadata.annotations[a.b/c]". Lines count from 1.
func (o *Object) Line(path string) int {
	node, line := o.node, o.node.Line
	for path != "" {
		var name string
		var index bool
		name, index, path = step(path)
		next := child(node, name, index)
		if next == nil {
			break
		}
		node, line = next.value, next.line
	}
	return line
}

// step cuts the first element off a path.
func step(path string) (name string, index bool, rest string) {
	if path[0] == '[' {
		for i := range path {
			if path[i] == ']' {
				return path[1:i], true, trimDot(path[i+1:])
			}
		}
		return path[1:], true, ""
	}
	for i := range path {
		if path[i] == '.' || path[i] == '[' {
			return path[:i], false, trimDot(path[i:])
		}
	}
	return path, false, ""
}

func trimDot(s string) string {
	if s != "" && s[0] == '.' {
		return s[1:]
	}
	return s
}

type found struct {
	value *yaml.Node
	line  int
}

func child(n *yaml.Node, name string, index bool) *found {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return &found{n.Content[i+1], n.Content[i].Line}
			}
		}
	case yaml.SequenceNode:
		var i int
		if _, err := fmt.Sscan(name, &i); err == nil && index && i < len(n.Content) {
			return &found{n.Content[i], n.Content[i].Line}
		}
	}
	return nil
}

// Objects reads all objects of the files and directories at paths that Fairway has a
// use for. What is wrong with one file does not hide the others: errs has an error
// for each document, and each item of a list, that cannot be read.
func Objects(paths []string) (objects []Object, errs []error) {
	errs = each(paths, func(o *Object) error {
		text, err := yaml.Marshal(o.node)
		if err != nil {
			return err
		}
		values, err := decodeDocument(nil, text)
		if err != nil {
			return fmt.Errorf("line %d: %w", o.node.Line, err)
		}
		for _, v := range values {
			objects = append(objects, Object{Value: v, File: o.File, node: o.node})
		}
		return nil
	})
	return objects, errs
}

// each calls f with every object of the files and directories at paths, without its Value.
// The errors are f's and those of reading, and name the file.
func each(paths []string, f func(*Object) error) (errs []error) {
	files, err := (&Source{o: Options{Paths: paths}}).list()
	if err != nil {
		return []error{err}
	}
	for _, name := range sortedKeys(files) {
		b, err := os.ReadFile(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, text := range split(b) {
			var doc yaml.Node
			if err := yaml.Unmarshal(text, &doc); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
				continue
			}
			if len(doc.Content) == 0 {
				continue
			}
			for _, node := range items(doc.Content[0]) {
				if err := f(&Object{File: name, node: node}); err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", name, err))
				}
			}
		}
	}
	return errs
}

// split cuts a file at the lines that begin with three hyphens, so that a document that is
// no YAML does not hide those behind it. Each has as many empty lines before it as make its
// lines count from the start of the file.
func split(b []byte) (out [][]byte) {
	var d []byte
	line := 0
	for text := range bytes.Lines(b) {
		line++
		if bytes.HasPrefix(text, []byte("---")) {
			out = append(out, d)
			d = bytes.Repeat([]byte{'\n'}, line)
			continue
		}
		d = append(d, text...)
	}
	return append(out, d)
}

// items are the objects of a list, or the object.
func items(n *yaml.Node) []*yaml.Node {
	if list := child(n, "items", false); list != nil && list.value.Kind == yaml.SequenceNode {
		return list.value.Content
	}
	return []*yaml.Node{n}
}

// Fill puts objects into a store, where all kinds are synced then. Of two with
// one name the later counts.
func Fill(store *state.Store, objects []Object) {
	store.Update(func(tx *state.Tx) {
		for _, o := range objects {
			tx.Set(o.Value)
		}
		for k := range model.NumKinds {
			tx.SetSynced(model.Kind(k))
		}
	})
}
