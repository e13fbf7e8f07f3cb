package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	imagearchive "github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func unpack(ctx context.Context, store, path string) ([]Image, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	blobs, err := local.NewStore(store)
	if err != nil {
		return nil, err
	}
	target, err := imagearchive.ImportIndex(ctx, blobs, file)
	if err != nil {
		return nil, fmt.Errorf("%s is not an image archive: %w", path, err)
	}
	var index ocispec.Index
	if err := readJSON(ctx, blobs, target, &index); err != nil {
		return nil, err
	}
	var found []Image
	for _, desc := range index.Manifests {
		name := desc.Annotations[images.AnnotationImageName]
		if name == "" {
			name = desc.Annotations[ocispec.AnnotationRefName]
		}
		image, err := describe(ctx, blobs, name, desc)
		if err != nil {
			return nil, err
		}
		for i, layer := range image.Layers {
			if err := unpackLayer(ctx, blobs, layer, layerPath(store, image.DiffIDs[i])); err != nil {
				return nil, err
			}
		}
		found = append(found, image)
	}
	return found, nil
}

func describe(ctx context.Context, blobs content.Store, name string, desc ocispec.Descriptor) (Image, error) {
	var image Image
	if name == "" {
		return image, errors.New("an image of the archive has no name")
	}
	manifest, err := images.Manifest(ctx, blobs, desc, platforms.Default())
	if err != nil {
		return image, err
	}
	// An index inside the archive is skipped: nodes need the one manifest of their platform.
	if images.IsIndexType(desc.MediaType) {
		var index ocispec.Index
		if err := readJSON(ctx, blobs, desc, &index); err != nil {
			return image, err
		}
		for _, inner := range index.Manifests {
			if inner.Platform == nil || platforms.Default().Match(*inner.Platform) {
				desc = inner
				break
			}
		}
	}
	var config ocispec.Image
	if err := readJSON(ctx, blobs, manifest.Config, &config); err != nil {
		return image, err
	}
	desc.Annotations = nil
	return Image{
		Name: name, Manifest: desc, Config: manifest.Config, Layers: manifest.Layers, DiffIDs: config.RootFS.DiffIDs,
	}, nil
}

func unpackLayer(ctx context.Context, blobs content.Store, layer ocispec.Descriptor, dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	reader, err := blobs.ReaderAt(ctx, layer)
	if err != nil {
		return err
	}
	defer reader.Close()
	stream, err := compression.DecompressStream(content.NewReader(reader))
	if err != nil {
		return err
	}
	defer stream.Close()
	if _, err := archive.Apply(ctx, temporary, stream, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return err
	}
	if err := os.Rename(temporary, dir); err != nil && !os.IsExist(err) {
		return err
	}
	return nil
}

func readJSON(ctx context.Context, blobs content.Provider, desc ocispec.Descriptor, into any) error {
	data, err := content.ReadBlob(ctx, blobs, desc)
	if err != nil {
		return err
	}
	if digest.FromBytes(data) != desc.Digest {
		return fmt.Errorf("blob %s is damaged", desc.Digest)
	}
	return json.Unmarshal(data, into)
}
