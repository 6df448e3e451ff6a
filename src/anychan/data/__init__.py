"""Files to batches: sources, split files, readers, cache, statistics, augmentation."""
