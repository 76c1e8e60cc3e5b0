/* What Rust cannot reach of intel-ipsec-mb.h: macros, and structs with unions and bit sizes of a release. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <intel-ipsec-mb.h>

/* Kinds of ciphers and hashes, as lib.rs has them. */
enum { CIPHER_NULL, CIPHER_CBC, CIPHER_CTR, CIPHER_GCM, CIPHER_CHACHA };
enum { HASH_NONE, HASH_SHA1, HASH_SHA256, HASH_SHA384, HASH_SHA512 };

#define MOST_JOBS 256
#define MOST_TAG 64

struct raddle_imb_key {
	struct gcm_key_data gcm;
	DECLARE_ALIGNED(uint32_t encrypt[15 * 4], 16);
	DECLARE_ALIGNED(uint32_t decrypt[15 * 4], 16);
	DECLARE_ALIGNED(uint8_t inner[64], 16);
	DECLARE_ALIGNED(uint8_t outer[64], 16);
	DECLARE_ALIGNED(uint8_t chacha[32], 16);
	uint32_t cipher, hash, key_bytes, tag_bytes;
};

/* A packet. Offsets are in bytes from its start. The tag that was computed goes into the packet when it is sealed, and is left here
 * when it is opened. */
struct raddle_imb_job {
	const struct raddle_imb_key *key;
	uint8_t *packet;
	uint32_t text_at, text_bytes, hash_bytes, aad_bytes, tag_at, place;
	uint8_t iv[16];
	uint8_t aad[16];
	uint8_t tag[MOST_TAG];
	uint32_t done, reserved;
};

static uint8_t *tag_of(struct raddle_imb_job *job, int seal)
{
	return seal ? job->packet + job->tag_at : job->tag;
}

size_t raddle_imb_key_bytes(void) { return sizeof(struct raddle_imb_key); }

size_t raddle_imb_job_bytes(void) { return sizeof(struct raddle_imb_job); }

IMB_MGR *raddle_imb_open(uint32_t *arch)
{
	IMB_ARCH found = IMB_ARCH_NONE;
	IMB_MGR *manager = alloc_mb_mgr(0);

	if (manager == NULL)
		return NULL;
	init_mb_mgr_auto(manager, &found);
	if (found == IMB_ARCH_NONE || imb_get_errno(manager) != 0) {
		free_mb_mgr(manager);
		return NULL;
	}
	*arch = (uint32_t)found;
	return manager;
}

void raddle_imb_close(IMB_MGR *manager) { free_mb_mgr(manager); }

static void hash_pads(IMB_MGR *manager, struct raddle_imb_key *key, const uint8_t *bytes, uint32_t length)
{
	/* The state of the hash behind one block of key and pad: what HMAC begins with (RFC 2104). */
	DECLARE_ALIGNED(uint8_t block[128], 16);
	uint8_t *state[2] = { key->inner, key->outer };
	const uint8_t pad[2] = { 0x36, 0x5c };

	for (int n = 0; n < 2; n++) {
		memset(block, pad[n], sizeof(block));
		for (uint32_t at = 0; at < length; at++)
			block[at] ^= bytes[at];
		switch (key->hash) {
		case HASH_SHA1: IMB_SHA1_ONE_BLOCK(manager, block, state[n]); break;
		case HASH_SHA256: IMB_SHA256_ONE_BLOCK(manager, block, state[n]); break;
		case HASH_SHA384: IMB_SHA384_ONE_BLOCK(manager, block, state[n]); break;
		case HASH_SHA512: IMB_SHA512_ONE_BLOCK(manager, block, state[n]); break;
		}
	}
	imb_clear_mem(block, sizeof(block));
}

/* Lengths are those of the algorithms: the caller has seen to that. */
void raddle_imb_prepare(IMB_MGR *manager, struct raddle_imb_key *key, uint32_t cipher, const uint8_t *bytes,
			uint32_t length, uint32_t hash, const uint8_t *hash_bytes, uint32_t hash_length,
			uint32_t tag_bytes)
{
	key->cipher = cipher;
	key->hash = hash;
	key->key_bytes = length;
	key->tag_bytes = tag_bytes;
	if (cipher == CIPHER_GCM) {
		switch (length) {
		case 16: IMB_AES128_GCM_PRE(manager, bytes, &key->gcm); break;
		case 24: IMB_AES192_GCM_PRE(manager, bytes, &key->gcm); break;
		default: IMB_AES256_GCM_PRE(manager, bytes, &key->gcm); break;
		}
	} else if (cipher == CIPHER_CBC || cipher == CIPHER_CTR) {
		switch (length) {
		case 16: IMB_AES_KEYEXP_128(manager, bytes, key->encrypt, key->decrypt); break;
		case 24: IMB_AES_KEYEXP_192(manager, bytes, key->encrypt, key->decrypt); break;
		default: IMB_AES_KEYEXP_256(manager, bytes, key->encrypt, key->decrypt); break;
		}
	} else if (cipher == CIPHER_CHACHA) {
		memcpy(key->chacha, bytes, sizeof(key->chacha));
	}
	if (hash != HASH_NONE)
		hash_pads(manager, key, hash_bytes, hash_length);
}

void raddle_imb_wipe(struct raddle_imb_key *key) { imb_clear_mem(key, sizeof(*key)); }

static void gcm(IMB_MGR *manager, struct raddle_imb_job *job, int seal)
{
	struct gcm_context_data context;
	const struct raddle_imb_key *key = job->key;
	uint8_t *text = job->packet + job->text_at;

#define RUN(bits, way)                                                                                        \
	IMB_AES##bits##_GCM_##way(manager, &key->gcm, &context, text, text, job->text_bytes, job->iv, job->aad, \
				  job->aad_bytes, tag_of(job, seal), key->tag_bytes)
	switch (key->key_bytes) {
	case 16: if (seal) RUN(128, ENC); else RUN(128, DEC); break;
	case 24: if (seal) RUN(192, ENC); else RUN(192, DEC); break;
	default: if (seal) RUN(256, ENC); else RUN(256, DEC); break;
	}
#undef RUN
	job->done = 1;
}

static void finish(IMB_JOB *finished)
{
	if (finished != NULL) {
		struct raddle_imb_job *job = finished->user_data;

		job->done = finished->status == IMB_STATUS_COMPLETED;
	}
}

static void submit(IMB_MGR *manager, struct raddle_imb_job *job, int seal)
{
	static const IMB_HASH_ALG hashes[] = { IMB_AUTH_NULL, IMB_AUTH_HMAC_SHA_1, IMB_AUTH_HMAC_SHA_256,
					       IMB_AUTH_HMAC_SHA_384, IMB_AUTH_HMAC_SHA_512 };
	const struct raddle_imb_key *key = job->key;
	IMB_JOB *made = IMB_GET_NEXT_JOB(manager);

	memset(made, 0, sizeof(*made));
	made->user_data = job;
	made->src = job->packet;
	made->dst = job->packet + job->text_at;
	made->cipher_start_src_offset_in_bytes = job->text_at;
	made->msg_len_to_cipher_in_bytes = job->text_bytes;
	made->hash_start_src_offset_in_bytes = 0;
	made->msg_len_to_hash_in_bytes = job->hash_bytes;
	made->iv = job->iv;
	made->auth_tag_output = tag_of(job, seal);
	made->auth_tag_output_len_in_bytes = key->tag_bytes;
	made->cipher_direction = seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	made->chain_order = seal ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	made->hash_alg = hashes[key->hash];
	made->u.HMAC._hashed_auth_key_xor_ipad = key->inner;
	made->u.HMAC._hashed_auth_key_xor_opad = key->outer;
	made->enc_keys = key->encrypt;
	made->dec_keys = key->decrypt;
	made->key_len_in_bytes = key->key_bytes;
	made->iv_len_in_bytes = 16;
	switch (key->cipher) {
	case CIPHER_CBC: made->cipher_mode = IMB_CIPHER_CBC; break;
	case CIPHER_CTR:
		made->cipher_mode = IMB_CIPHER_CNTR;
		/* A stream is one way both ways. */
		made->dec_keys = key->encrypt;
		break;
	case CIPHER_CHACHA:
		made->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
		made->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
		made->enc_keys = made->dec_keys = key->chacha;
		made->iv_len_in_bytes = 12;
		made->u.CHACHA20_POLY1305.aad = job->aad;
		made->u.CHACHA20_POLY1305.aad_len_in_bytes = job->aad_bytes;
		made->hash_start_src_offset_in_bytes = job->text_at;
		made->msg_len_to_hash_in_bytes = job->text_bytes;
		break;
	default: made->cipher_mode = IMB_CIPHER_NULL; break;
	}
	finish(IMB_SUBMIT_JOB(manager));
}

/* Turns packets in place, and computes their tags. Comparing is the caller's. */
void raddle_imb_run(IMB_MGR *manager, struct raddle_imb_job *jobs, size_t count, int seal)
{
	int waiting = 0;

	for (size_t n = 0; n < count; n++) {
		struct raddle_imb_job *job = &jobs[n];

		if (job->key->cipher == CIPHER_GCM) {
			gcm(manager, job, seal);
		} else {
			submit(manager, job, seal);
			waiting = 1;
		}
	}
	if (waiting) {
		IMB_JOB *finished;

		while ((finished = IMB_FLUSH_JOB(manager)) != NULL)
			finish(finished);
	}
}
