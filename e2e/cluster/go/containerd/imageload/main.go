// Command imageload brings image archives into containerd without unpacking them once per node.
//
// `imageload unpack` reads a docker or OCI archive into a store on disk: its blobs, and each layer
// unpacked once. `imageload load` registers such an image with a running containerd: blobs become
// hard links, and a snapshot is a link to the unpacked layer (overlayfs never writes to a lower one).
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is what `unpack` writes and `load` reads: one image whose parts lie in the store.
type Image struct {
	Name     string               `json:"name"`
	Manifest ocispec.Descriptor   `json:"manifest"`
	Config   ocispec.Descriptor   `json:"config"`
	Layers   []ocispec.Descriptor `json:"layers"`
	DiffIDs  []digest.Digest      `json:"diffIDs"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "imageload:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return fmt.Errorf("usage: imageload unpack|load [flags]")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	store := flags.String("store", "", "directory with blobs and unpacked layers")
	list := flags.String("list", "", "file with the images of an archive, written by unpack")
	archive := flags.String("archive", "", "unpack: docker or OCI archive")
	address := flags.String("address", "", "load: containerd's socket")
	root := flags.String("root", "", "load: containerd's root directory")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), "k8s.io"), 5*time.Minute)
	defer cancel()
	switch os.Args[1] {
	case "unpack":
		found, err := unpack(ctx, *store, *archive)
		if err != nil {
			return err
		}
		data, err := json.MarshalIndent(found, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*list+".tmp", data, 0o644); err != nil {
			return err
		}
		return os.Rename(*list+".tmp", *list)
	case "load":
		data, err := os.ReadFile(*list)
		if err != nil {
			return err
		}
		var wanted []Image
		if err := json.Unmarshal(data, &wanted); err != nil {
			return err
		}
		return load(ctx, *store, *address, *root, wanted)
	}
	return fmt.Errorf("unknown command %q", os.Args[1])
}

func blobPath(root string, d digest.Digest) string {
	return filepath.Join(root, "blobs", d.Algorithm().String(), d.Encoded())
}

func layerPath(store string, diffID digest.Digest) string {
	return filepath.Join(store, "layers", diffID.Encoded())
}

func managed(image images.Image) bool {
	return image.Labels["io.cri-containerd.image"] == "managed"
}
