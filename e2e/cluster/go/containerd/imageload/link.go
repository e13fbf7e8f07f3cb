package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	continuity "github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"
)

// linkTree makes `target` equal to `source`: directories anew, everything else as hard links.
func linkTree(source, target string) error {
	err := filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return copyDirectory(path, filepath.Join(target, relative))
		}
		if err := os.Link(path, filepath.Join(target, relative)); err != nil && !os.IsExist(err) {
			return err
		}
		return nil
	})
	if isCrossDevice(err) {
		return continuity.CopyDir(target, source)
	}
	return err
}

func copyDirectory(source, target string) error {
	var stat unix.Stat_t
	if err := unix.Lstat(source, &stat); err != nil {
		return err
	}
	if err := os.Mkdir(target, 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	if err := os.Lchown(target, int(stat.Uid), int(stat.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(target, stat.Mode&0o7777); err != nil {
		return err
	}
	names := make([]byte, 4096)
	size, err := unix.Llistxattr(source, names)
	if err != nil {
		return nil // no extended attributes here, so none to copy
	}
	for start, i := 0, 0; i < size; i++ {
		if names[i] != 0 {
			continue
		}
		name := string(names[start:i])
		start = i + 1
		value := make([]byte, 65536)
		length, err := unix.Lgetxattr(source, name, value)
		if err != nil {
			return err
		}
		if err := unix.Lsetxattr(target, name, value[:length], 0); err != nil {
			return err
		}
	}
	return nil
}

func isCrossDevice(err error) bool {
	return errors.Is(err, syscall.EXDEV)
}
