package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const snapshotter = "overlayfs"

func load(ctx context.Context, store, address, root string, wanted []Image) error {
	client, err := containerd.New(address, containerd.WithTimeout(20*time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	for _, image := range wanted {
		if err := loadOne(ctx, client, store, root, image); err != nil {
			return fmt.Errorf("%s: %w", image.Name, err)
		}
	}
	return nil
}

func loadOne(ctx context.Context, client *containerd.Client, store, root string, image Image) error {
	known, err := client.ImageService().Get(ctx, image.Name)
	if err == nil && known.Target.Digest == image.Manifest.Digest && managed(known) {
		return nil
	}
	// The lease keeps the garbage collector away until the image refers to all of its parts.
	ctx, done, err := client.WithLease(ctx)
	if err != nil {
		return err
	}
	defer done(context.WithoutCancel(ctx))
	for _, layer := range image.Layers {
		if err := linkBlob(ctx, client.ContentStore(), store, root, layer, nil); err != nil {
			return err
		}
	}
	if err := linkLayers(ctx, client.SnapshotService(snapshotter), store, image); err != nil {
		return err
	}
	top := identity.ChainID(image.DiffIDs).String()
	configLabels := map[string]string{"containerd.io/gc.ref.snapshot." + snapshotter: top}
	if err := linkBlob(ctx, client.ContentStore(), store, root, image.Config, configLabels); err != nil {
		return err
	}
	manifestLabels := map[string]string{"containerd.io/gc.ref.content.config": image.Config.Digest.String()}
	for i, layer := range image.Layers {
		manifestLabels[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = layer.Digest.String()
	}
	if err := linkBlob(ctx, client.ContentStore(), store, root, image.Manifest, manifestLabels); err != nil {
		return err
	}
	record := images.Image{Name: image.Name, Target: image.Manifest}
	if _, err := client.ImageService().Create(ctx, record); errdefs.IsAlreadyExists(err) {
		if _, err := client.ImageService().Update(ctx, record); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return waitManaged(ctx, client, image.Name)
}

// linkBlob makes a blob of the store known to containerd. With the file already in its content
// directory, a writer that expects this digest has nothing left to write.
func linkBlob(
	ctx context.Context, blobs content.Store, store, root string, desc ocispec.Descriptor, labels map[string]string,
) error {
	source := blobPath(store, desc.Digest)
	target := blobPath(filepath.Join(root, "io.containerd.content.v1.content"), desc.Digest)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := os.Link(source, target); err != nil && !os.IsExist(err) && !errors.Is(err, syscall.EXDEV) {
		return err
	}
	file, err := os.Open(source)
	if err != nil {
		return err
	}
	defer file.Close()
	var options []content.Opt
	if labels != nil {
		options = append(options, content.WithLabels(labels))
	}
	return content.WriteBlob(ctx, blobs, "imageload-"+desc.Digest.String(), file, desc, options...)
}

func linkLayers(ctx context.Context, service snapshots.Snapshotter, store string, image Image) error {
	parent := ""
	for i, diffID := range image.DiffIDs {
		chain := identity.ChainID(image.DiffIDs[:i+1]).String()
		if _, err := service.Stat(ctx, chain); err == nil {
			parent = chain
			continue
		}
		key := fmt.Sprintf("imageload-%d-%s", time.Now().UnixNano(), chain)
		mounts, err := service.Prepare(ctx, key, parent)
		if err != nil {
			return err
		}
		target, err := upperDir(mounts)
		if err != nil {
			return err
		}
		// Nobody writes to a layer: all nodes mount the one in the store.
		if err := os.Remove(target); err != nil {
			return err
		}
		if err := os.Symlink(layerPath(store, diffID), target); err != nil {
			return err
		}
		if err := service.Commit(ctx, chain, key); err != nil && !errdefs.IsAlreadyExists(err) {
			return err
		}
		parent = chain
	}
	return nil
}

func upperDir(mounts []mount.Mount) (string, error) {
	if len(mounts) == 1 && mounts[0].Type == "bind" {
		return mounts[0].Source, nil
	}
	for _, one := range mounts {
		for _, option := range one.Options {
			if dir, found := strings.CutPrefix(option, "upperdir="); found {
				return dir, nil
			}
		}
	}
	return "", fmt.Errorf("no writable directory in %v", mounts)
}

// waitManaged returns when the CRI plugin has taken the image over. A kubelet that asks earlier
// would be told to pull it.
func waitManaged(ctx context.Context, client *containerd.Client, name string) error {
	for {
		image, err := client.ImageService().Get(ctx, name)
		if err != nil {
			return err
		}
		if managed(image) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the CRI plugin did not take the image over: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
